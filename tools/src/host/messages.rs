//! What is told about each statement: messages with their ids, and condition codes.
//!
//! Ids that are documented for the real utilities are used with their meaning; ids `ANTF9nnnx`, `ADR99nx`
//! and `ICK39nnnI` are Flashtrack's own. No text claims to be that of another product.

use flashtrack_engine::admin::{Refusal, RefusalKind};
use serde::Serialize;

use super::deck::Program;

/// Condition code of a statement, and the highest one of a deck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// Done.
    #[default]
    Done,
    /// Done, with something to look at.
    Warning,
    /// Refused or failed.
    Failed,
    /// Malformed; of ICKDSF also refused or failed.
    Terminated,
}

impl Code {
    /// 0, 4, 8 or 12.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Warning => 4,
            Self::Failed => 8,
            Self::Terminated => 12,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    /// Its id; the last letter tells information, warning or error.
    pub(crate) id: &'static str,
    /// One line or several.
    pub(crate) text: String,
    /// Of an error: the kind of the server's refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<RefusalKind>,
    /// Of an error: its capability reason code, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason_code: Option<u8>,
    #[serde(skip)]
    pub(crate) code: Code,
}

impl Message {
    /// Information.
    pub(crate) fn info(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Code::Done, text)
    }

    /// Information with a condition code of its own.
    pub(crate) fn new(id: &'static str, code: Code, text: impl Into<String>) -> Self {
        Self { id, text: text.into(), kind: None, reason_code: None, code }
    }

    /// A refusal: message, reason code and advice.
    pub(crate) fn refused(id: &'static str, code: Code, refusal: &Refusal) -> Self {
        let reason_code = refusal.kind.reason_code();
        let mut text = refusal.message.clone();
        if let Some(reason) = reason_code {
            text = format!("{text}. REASON CODE {reason:02}");
        }
        if let Some(help) = &refusal.help {
            text = format!("{text}\n  ({help})");
        }
        Self { id, text, kind: Some(refusal.kind), reason_code, code }
    }
}

/// What became of one statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// Name of its step; none for bare statements.
    pub(crate) step: Option<String>,
    /// What carried it out.
    pub(crate) program: &'static str,
    /// Its first line in the text, from 1.
    pub(crate) line: usize,
    /// As it was understood.
    pub(crate) statement: String,
    /// In order.
    pub(crate) messages: Vec<Message>,
    /// 0, 4, 8 or 12.
    pub(crate) code: u8,
}

impl Told {
    /// The highest code of its messages.
    pub(crate) fn highest(messages: &[Message]) -> Code {
        messages.iter().map(|message| message.code).max().unwrap_or_default()
    }
}

/// How the end of a statement is told, with its code.
pub(crate) fn ended(program: Program, code: Code) -> Option<Message> {
    let number = code.number();
    match program {
        Program::Tso => None,
        Program::Dss => Some(Message::new(
            "ADR013I",
            code,
            format!("TASK COMPLETED WITH RETURN CODE {number:04}"),
        )),
        Program::Ickdsf if code == Code::Terminated => {
            let text = format!("FUNCTION TERMINATED. CONDITION CODE IS {number}");
            Some(Message::new("ICK30003I", code, text))
        }
        Program::Ickdsf => {
            let text = format!("FUNCTION COMPLETED, HIGHEST CONDITION CODE WAS {number}");
            Some(Message::new("ICK00001I", code, text))
        }
    }
}
