//! The handshake: the client's flags, then options until one chooses an export.
//!
//! - N1 Each option is answered once and from exactly its announced bytes; data that is too long is
//!   skipped without being stored.
//! - N2 A chosen metadata context belongs to the export it was chosen for. Every `SET_META_CONTEXT`
//!   forgets the choice before, also when it fails.

use flashtrack_engine::units::VolumeId;

use super::{CloseReason, Context, ExportInfo, Exports, Step};
use crate::protocol::Violation;
use crate::protocol::constants as nbd;
use crate::protocol::option::{
    self, ClientOption, ContextQuery, ExportQuery, Information, OptionError, OptionHeader,
};
use crate::protocol::reader::Reader;
use crate::protocol::request::{Agreed, ReplyStyle};
use crate::protocol::status;

/// What is known of the client so far.
#[derive(Debug)]
pub(super) struct Negotiation {
    stage: Stage,
    /// Zeroes that follow the answer to `EXPORT_NAME`.
    zeroes: usize,
    replies: ReplyStyle,
    /// The volume for which `base:allocation` is chosen.
    context: Option<VolumeId>,
    options: u32,
}

#[derive(Debug)]
enum Stage {
    ClientFlags,
    Option,
    /// The data of a refused option goes by.
    Skip {
        option: u32,
        error: OptionError,
        left: u32,
    },
}

/// How a handshake ends.
pub(super) enum HandshakeEnd {
    /// So many bytes are dealt with, and requests follow.
    Chosen(usize, Agreed),
    /// No input is taken any more.
    Close(CloseReason),
}

impl From<Violation> for HandshakeEnd {
    fn from(violation: Violation) -> Self {
        Self::Close(violation.into())
    }
}

impl Default for Negotiation {
    fn default() -> Self {
        Self {
            stage: Stage::ClientFlags,
            zeroes: nbd::EXPORT_NAME_ZEROES,
            replies: ReplyStyle::Simple,
            context: None,
            options: 0,
        }
    }
}

/// The first bytes that a client gets.
pub(super) fn put_greeting(out: &mut Vec<u8>) {
    out.extend_from_slice(&nbd::INIT_MAGIC.to_be_bytes());
    out.extend_from_slice(&nbd::OPTION_MAGIC.to_be_bytes());
    out.extend_from_slice(&(nbd::FLAG_FIXED_NEWSTYLE | nbd::FLAG_NO_ZEROES).to_be_bytes());
}

impl Negotiation {
    /// Deals with the message at the beginning of `input`, which is not empty.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        exports: &dyn Exports,
        context: &mut Context<'_>,
    ) -> Result<Step, HandshakeEnd> {
        match &mut self.stage {
            Stage::ClientFlags => self.step_client_flags(input),
            Stage::Option => self.step_option(input, exports, context),
            Stage::Skip { option, error, left } => {
                let skipped = (*left).min(u32::try_from(input.len()).unwrap_or(u32::MAX));
                *left -= skipped;
                if *left == 0 {
                    option::put_error(context.output.small(), *option, error);
                    self.stage = Stage::Option;
                }
                Ok(Step::Consumed(skipped as usize))
            }
        }
    }

    fn step_client_flags(&mut self, input: &[u8]) -> Result<Step, HandshakeEnd> {
        let Some(flags) = Reader::new(input).u32() else {
            return Ok(Step::More(4));
        };
        if flags & !(nbd::FLAG_C_FIXED_NEWSTYLE | nbd::FLAG_C_NO_ZEROES) != 0 {
            return Err(Violation::ClientFlags(flags).into());
        }
        if flags & nbd::FLAG_C_NO_ZEROES != 0 {
            self.zeroes = 0;
        }
        self.stage = Stage::Option;
        Ok(Step::Consumed(4))
    }

    fn step_option(
        &mut self,
        input: &[u8],
        exports: &dyn Exports,
        context: &mut Context<'_>,
    ) -> Result<Step, HandshakeEnd> {
        if context.output.bytes() >= context.limits.option_reply_bytes_max {
            return Ok(Step::Stalled);
        }
        let Some(OptionHeader { option, bytes }) = OptionHeader::decode(input)? else {
            return Ok(Step::More(OptionHeader::BYTES));
        };
        if option == nbd::OPT_ABORT {
            // Nothing after it counts, its own data included.
            option::put_reply(context.output.small(), option, nbd::REP_ACK, &[]);
            return Err(HandshakeEnd::Close(CloseReason::Abort));
        }
        let too_long = bytes > context.limits.option_bytes_max;
        let total = OptionHeader::BYTES + if too_long { 0 } else { bytes as usize };
        let Some(data) = input.get(OptionHeader::BYTES..total) else {
            return Ok(Step::More(total));
        };
        self.options += 1;
        if self.options > context.limits.options_max {
            return Err(Violation::TooManyOptions(context.limits.options_max).into());
        }
        if option == nbd::OPT_SET_META_CONTEXT {
            self.context = None;
        }
        let outcome = if context.shutting_down {
            Err(OptionError::Shutdown)
        } else if too_long {
            Err(OptionError::TooBig(bytes))
        } else {
            ClientOption::decode(option, data)
        };
        let outcome = outcome.and_then(|known| self.answer(option, &known, exports, context));
        match outcome {
            Ok(None) => {}
            Ok(Some(agreed)) => return Err(HandshakeEnd::Chosen(total, agreed)),
            // The document: it has no error reply.
            Err(error) if option == nbd::OPT_EXPORT_NAME => {
                return Err(Violation::ExportName(error).into());
            }
            Err(error) if too_long => self.stage = Stage::Skip { option, error, left: bytes },
            Err(error) => option::put_error(context.output.small(), option, &error),
        }
        Ok(Step::Consumed(total))
    }

    /// Answers a well-formed option, unless it fails; tells what was agreed when it ends the
    /// handshake.
    fn answer(
        &mut self,
        option: u32,
        known: &ClientOption<'_>,
        exports: &dyn Exports,
        context: &mut Context<'_>,
    ) -> Result<Option<Agreed>, OptionError> {
        let out = context.output.small();
        match known {
            ClientOption::ExportName(name) => {
                let info = find(exports, name)?;
                out.extend_from_slice(&info.size_bytes.to_be_bytes());
                out.extend_from_slice(&self.transmission_flags().to_be_bytes());
                out.resize(out.len() + self.zeroes, 0);
                return Ok(Some(self.agree(&info)));
            }
            ClientOption::List => {
                for name in exports.names() {
                    let length = u32::try_from(name.len()).expect("names are short");
                    let parts = [&length.to_be_bytes()[..], name.as_bytes()];
                    option::put_reply(out, option, nbd::REP_SERVER, &parts);
                }
            }
            ClientOption::Info(query) => {
                self.put_information(out, option, query, &find(exports, query.name)?);
            }
            ClientOption::Go(query) => {
                let info = find(exports, query.name)?;
                self.put_information(out, option, query, &info);
                option::put_reply(out, option, nbd::REP_ACK, &[]);
                return Ok(Some(self.agree(&info)));
            }
            ClientOption::StructuredReply => self.replies = ReplyStyle::Structured,
            ClientOption::ListMetaContext(query) => {
                self.find_for_contexts(query, exports)?;
                if status::is_listed(&query.queries) {
                    put_context(out, option, 0);
                }
            }
            ClientOption::SetMetaContext(query) => {
                let info = self.find_for_contexts(query, exports)?;
                if status::is_chosen(&query.queries) {
                    self.context = Some(info.volume);
                    put_context(out, option, status::ALLOCATION_ID);
                }
            }
        }
        option::put_reply(out, option, nbd::REP_ACK, &[]);
        Ok(None)
    }

    fn put_information(
        &self,
        out: &mut Vec<u8>,
        option: u32,
        query: &ExportQuery<'_>,
        info: &ExportInfo,
    ) {
        let mut put = |kind: u16, parts: [&[u8]; 3]| {
            let [first, second, third] = parts;
            let parts = [&kind.to_be_bytes()[..], first, second, third];
            option::put_reply(out, option, nbd::REP_INFO, &parts);
        };
        let size = info.size_bytes.to_be_bytes();
        put(nbd::INFO_EXPORT, [&size, &self.transmission_flags().to_be_bytes(), &[]]);
        for wanted in &query.wanted {
            match wanted {
                Information::Name => put(nbd::INFO_NAME, [info.name.as_bytes(), &[], &[]]),
                Information::Description if info.description.is_empty() => {}
                Information::Description => {
                    put(nbd::INFO_DESCRIPTION, [info.description.as_bytes(), &[], &[]]);
                }
                Information::BlockSize => {
                    let sizes = [
                        &nbd::BLOCK_BYTES_MIN.to_be_bytes()[..],
                        &info.preferred_block_bytes.to_be_bytes(),
                        &nbd::PAYLOAD_BYTES_ADVERTISED.to_be_bytes(),
                    ];
                    put(nbd::INFO_BLOCK_SIZE, sizes);
                }
            }
        }
    }

    fn find_for_contexts(
        &self,
        query: &ContextQuery<'_>,
        exports: &dyn Exports,
    ) -> Result<ExportInfo, OptionError> {
        match self.replies {
            ReplyStyle::Simple => Err(OptionError::SimpleReplies),
            ReplyStyle::Structured => find(exports, query.export),
        }
    }

    fn transmission_flags(&self) -> u16 {
        let always = nbd::FLAG_HAS_FLAGS
            | nbd::FLAG_SEND_FLUSH
            | nbd::FLAG_SEND_FUA
            | nbd::FLAG_SEND_TRIM
            | nbd::FLAG_SEND_WRITE_ZEROES
            | nbd::FLAG_CAN_MULTI_CONN;
        match self.replies {
            ReplyStyle::Simple => always,
            ReplyStyle::Structured => always | nbd::FLAG_SEND_DF,
        }
    }

    fn agree(&self, info: &ExportInfo) -> Agreed {
        Agreed {
            volume: info.volume,
            size_bytes: info.size_bytes,
            replies: self.replies,
            allocation_context: self.context == Some(info.volume),
        }
    }
}

fn find(exports: &dyn Exports, name: &str) -> Result<ExportInfo, OptionError> {
    exports.find(name).ok_or_else(|| OptionError::UnknownExport(name.to_owned()))
}

fn put_context(out: &mut Vec<u8>, option: u32, id: u32) {
    let parts = [&id.to_be_bytes()[..], status::ALLOCATION.as_bytes()];
    option::put_reply(out, option, nbd::REP_META_CONTEXT, &parts);
}
