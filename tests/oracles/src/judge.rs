//! A judge that is asked by lines of JSON: a line is a question, the next line is its answer.
//!
//! It lives as long as the value. A judge that does not answer fails the test that asked.

#![allow(clippy::panic)] // that is how a test fails

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::Tool;

/// See the [module](self).
#[derive(Debug)]
pub struct Judge {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judge {
    /// Starts the tool for a test; nothing where there is no Go ([`Tool::for_test`]), and the test returns then.
    ///
    /// # Panics
    /// When it is not built and does not build, or does not start.
    pub fn of(tool: Tool, arguments: &[&OsStr]) -> Option<Self> {
        let program = tool.for_test()?;
        let started = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(Self::piped);
        Some(started.unwrap_or_else(|error| panic!("{} does not start: {error}", program.display())))
    }

    fn piped(mut child: Child) -> io::Result<Self> {
        let no_pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        let questions = child.stdin.take().ok_or_else(no_pipe)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?);
        Ok(Self { child, questions, answers })
    }

    /// Asks one question.
    ///
    /// # Panics
    /// When the judge has ended, or answers something else than JSON.
    pub fn ask(&mut self, question: &Value) -> Value {
        let mut line = String::new();
        writeln!(self.questions, "{question}")
            .and_then(|()| self.answers.read_line(&mut line))
            .unwrap_or_else(|error| panic!("the judge is gone: {error}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the judge answers {line:?}: {error}"))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
