//! A run of `flashtrack` from its input to what it has said.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::program::flashtrack_at;

/// How a run has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs `flashtrack` against the server with that control socket; `input` is its standard input.
    pub(crate) fn of_flashtrack(control: &Path, words: &[&str], input: &str) -> Self {
        let mut child = flashtrack_at(control)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A command that reads no input may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// It has ended with this exit code and said these words on standard output or error.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for words in says {
            let said = self.stdout.contains(words) || self.stderr.contains(words);
            assert!(said, "does not say {words:?}: {self:#?}");
        }
    }
}
