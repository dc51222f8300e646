//! The verb `thaw`.

use flashtrack_engine::admin::{Command, Report, ThawReport};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Thaws a control unit. Fails, after it was thawed, when a volume to be verified was not frozen any more.
pub(crate) async fn run(
    cu: u8,
    verify: Option<String>,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let command = Command::Thaw { cu, verify: verify.clone() };
    let Report::Thawed(report) = client.command(&command).await? else {
        return Err(client.unexpected());
    };
    output.object(&report, |report| thawed(cu, report))?;
    match (report.consistent, verify) {
        (Some(false), Some(volume)) => Err(Failure::NotFrozen { cu, volume }),
        _ => Ok(()),
    }
}

fn thawed(cu: u8, report: &ThawReport) -> String {
    let what = if report.volumes.is_empty() {
        "no volume was frozen".to_owned()
    } else {
        format!("writes go on to {}", report.volumes.join(", "))
    };
    let verified = match report.consistent {
        Some(true) => "; the group is consistent",
        Some(false) | None => "",
    };
    format!("control unit {cu:02X} thawed: {what}{verified}")
}
