//! The shape of the sources, checked by machine.
//!
//! Reported: files of more than 500 lines, functions of more than 70. Refused: characters beyond
//! ASCII, marks of unfinished work, paths of somebody's machine, and in the engine whatever would make
//! a run differ from the next: clocks, threads, files, maps with a random order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Outcome, TaskError};
use crate::report;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// What is looked at, from the workspace's root.
const FOLDERS: &[&str] = &["engine", "nbd-server", "tools", "benches", "deploy", ".ci"];
const ENDINGS: &[&str] =
    &["rs", "toml", "md", "sh", "yml", "json", "service", "socket", "Containerfile", "run"];
/// Written in two halves, so that this file does not hold them.
const WORDS_REFUSED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK"),
    concat!("unimpl", "emented!("),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
];
/// Refused in the engine, with what to use instead.
const ENGINE_REFUSED: &[(&str, &str)] = &[
    ("std::fs", "an Op, or the Storage trait"),
    ("Instant", "the Moment that tick is given"),
    ("SystemTime", "the Moment that tick is given"),
    ("std::thread", "operations and completions"),
    ("HashMap", "BTreeMap"),
    ("HashSet", "BTreeSet"),
];
/// Parts of the engine that may: the backend that does real I/O, and the simulator around the engine.
const ENGINE_EXEMPT: &[&str] = &["engine/src/io/local", "engine/src/sim"];

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    reported: Vec<String>,
    refused: Vec<String>,
}

/// Looks at all sources below the current folder, the workspace's root.
///
/// # Errors
/// Something refused was found; it has been printed.
pub(crate) fn run() -> Outcome {
    let mut paths = Vec::new();
    for folder in FOLDERS {
        collect(Path::new(folder), &mut paths)?;
    }
    let root = fs::read_dir(".").map_err(TaskError::file(Path::new(".")))?;
    paths.extend(
        root.flatten().map(|entry| entry.path()).filter(|path| path.is_file() && of_interest(path)),
    );
    let mut findings = Findings::default();
    for path in &paths {
        let bytes = fs::read(path).map_err(TaskError::file(path))?;
        look(path, &String::from_utf8_lossy(&bytes), &mut findings);
    }
    for line in &findings.reported {
        println!("  {} {line}", report::strong("long:"));
    }
    for line in &findings.refused {
        println!("  {} {line}", report::bad("refused:"));
    }
    println!("{} files looked at", paths.len());
    if findings.refused.is_empty() { Ok(()) } else { Err(TaskError::Reported) }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Outcome {
    let entries = fs::read_dir(folder).map_err(TaskError::file(folder))?;
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, paths)?;
        } else if of_interest(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

fn of_interest(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = name.rsplit('.').next().unwrap_or_default();
    ENDINGS.contains(&ending)
}

fn look(path: &Path, text: &str, findings: &mut Findings) {
    let name = path.display();
    let rust = path.extension().is_some_and(|ending| ending == "rs");
    let lines = text.lines().count();
    if rust && lines > FILE_LINES_MAX {
        findings.reported.push(format!("{name} has {lines} lines: is it still one idea?"));
    }
    if rust {
        for (line, function, length) in functions(text) {
            if length > FUNCTION_LINES_MAX {
                let found = format!("{name}:{line} `{function}` has {length} lines");
                findings.reported.push(found);
            }
        }
    }
    let engine = rust && path.starts_with("engine/src");
    let engine = engine && !ENGINE_EXEMPT.iter().any(|exempt| name.to_string().starts_with(exempt));
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(character) = line.chars().find(|character| !character.is_ascii()) {
            findings.refused.push(format!("{name}:{number} is not ASCII: {character:?}"));
        }
        for word in WORDS_REFUSED.iter().filter(|word| line.contains(**word)) {
            findings.refused.push(format!("{name}:{number} holds `{word}`"));
        }
        let code = line.split("//").next().unwrap_or_default();
        for (word, instead) in
            ENGINE_REFUSED.iter().filter(|(word, _)| engine && code.contains(word))
        {
            findings.refused.push(format!("{name}:{number} uses {word}: use {instead}"));
        }
    }
}

/// First line, name and number of lines of each function of a formatted source: it ends at the first
/// line that is a closing brace as far to the right as its beginning.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else {
            continue;
        };
        let end = format!("{}}}", &line[..indent]);
        if let Some(length) = lines[index..].iter().position(|line| *line == end) {
            found.push((index + 1, name.to_owned(), length + 1));
        }
    }
    found
}

/// Name of the function that a line begins, if it begins one with a body.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "default"];
    let begins = before.split_whitespace().all(|word| {
        qualifiers.iter().any(|qualifier| word.starts_with(qualifier)) || word.starts_with('"')
    });
    let one_line = line.ends_with(['}', ';']);
    let name = after.split(['(', '<']).next()?;
    (begins && !one_line).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, text: &str) -> usize {
        let mut findings = Findings::default();
        look(Path::new(path), text, &mut findings);
        findings.refused.len()
    }

    #[test]
    fn a_function_ends_at_the_brace_below_its_beginning() {
        let text = "impl A {\n    pub(crate) fn b(\n        &self,\n    ) {\n        if c {\n        }\n    }\n}\n";

        assert_eq!(functions(text), vec![(2, "b".to_owned(), 6)]);
    }

    #[test]
    fn a_clock_in_the_engine_is_refused_but_not_in_its_backend_or_in_a_comment() {
        assert_eq!(refused("engine/src/journal.rs", "let now = Instant::now();"), 1);
        assert_eq!(refused("engine/src/journal.rs", "// no Instant here"), 0);
        assert_eq!(refused("engine/src/io/local/ring.rs", "let now = Instant::now();"), 0);
    }

    #[test]
    fn a_character_beyond_ascii_is_refused_everywhere() {
        assert_eq!(refused("README.md", "caf\u{e9}"), 1);
    }
}
