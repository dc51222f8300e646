//! How it is told that a fast copy was not made.

use flashtrack_engine::admin::Refusal;

use super::flash::{Detail, Flash};
use crate::host::messages::{Code, Message};

/// The reason is always told; DEBUG(FRMSG()) adds message ADR918I with its codes.
pub(super) fn refused(refusal: &Refusal, flash: &Flash) -> Vec<Message> {
    let mut messages = Vec::new();
    if let Some(detail) = flash.detail {
        messages.push(Message::info("ADR918I", reason(refusal, detail)));
    }
    let mut told = Message::refused("ADR992E", Code::Failed, refusal);
    told.text = format!("NOT COPIED: {}", told.text);
    messages.push(told);
    messages.push(if flash.required {
        let text = "FASTREPLICATION(REQUIRED) WAS SPECIFIED AND FAST REPLICATION COULD NOT BE USED";
        Message::new("ADR938E", Code::Failed, text)
    } else {
        let text = "THERE IS NO COPY BY PLAIN READS AND WRITES TO FALL BACK TO";
        Message::new("ADR993I", Code::Failed, text)
    });
    messages
}

fn reason(refusal: &Refusal, detail: Detail) -> String {
    let code =
        refusal.kind.reason_code().map_or_else(|| "NONE".to_owned(), |code| code.to_string());
    let summary = format!("FAST REPLICATION COULD NOT BE USED, RETURN CODE {code}");
    let kind = format!("{:?}", refusal.kind);
    match detail {
        Detail::Minimal => summary,
        Detail::Summarized => format!("{summary} ({kind})"),
        Detail::Detailed => {
            let help = refusal.help.as_deref().unwrap_or("nothing to advise");
            format!("{summary} ({kind})\n  {}\n  {help}", refusal.message)
        }
    }
}
