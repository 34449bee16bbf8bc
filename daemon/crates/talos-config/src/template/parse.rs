//! Pieces of a template to a tree.

use document::nearest;

use super::lex::{Kind, Piece, Token};
use super::{Fault, functions, sprig};

/// How deep blocks and parentheses may be nested; nobody writes as much, and the stack is finite.
const DEEPEST: usize = 64;

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Prints a value, unless it is kept in a variable.
    Action(Pipe),
    If {
        condition: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipe,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipe,
        each: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// `$a, $b := first | second`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    /// Variables that take the value.
    pub(super) variables: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
    pub(super) at: usize,
}

/// A function with its arguments, or a value alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// One word of a command, with the fields taken of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) term: Term,
    pub(super) fields: Vec<String>,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Dot,
    Variable(String),
    Function(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Pipe(Box<Pipe>),
}

/// Makes the tree.
pub(super) fn parse(pieces: &[Piece]) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser { pieces, next: 0, last: 0 };
    let (body, end) = parser.block(0, false)?;
    match end {
        Stop::Text => Ok(body),
        Stop::End(at) => Err(Fault::new(at, "`end` without a beginning")),
        Stop::Else(at, _) => Err(Fault::new(at, "`else` without a beginning")),
    }
}

struct Parser<'a> {
    pieces: &'a [Piece],
    next: usize,
    /// Where the last action began, for faults at the end of the text.
    last: usize,
}

/// How a block ended.
enum Stop<'a> {
    Text,
    End(usize),
    /// `else`, with the words behind it.
    Else(usize, &'a [Token]),
}

impl<'a> Parser<'a> {
    fn block(&mut self, depth: usize, in_loop: bool) -> Result<(Vec<Node>, Stop<'a>), Fault> {
        if depth > DEEPEST {
            return Err(Fault::new(self.last, "the template is nested too deeply"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let Some((first, rest)) = tokens.split_first() else {
                return Err(Fault::new(self.last, "an action is empty"));
            };
            self.last = first.at;
            let Kind::Word(word) = &first.kind else {
                nodes.push(Node::Action(pipe(tokens, first.at, 0)?));
                continue;
            };
            match word.as_str() {
                "end" => return Ok((nodes, Stop::End(first.at))),
                "else" => return Ok((nodes, Stop::Else(first.at, rest))),
                "if" | "with" | "range" => {
                    nodes.push(self.control(word, first.at, rest, depth, in_loop)?);
                }
                "break" | "continue" if !in_loop => {
                    return Err(Fault::new(first.at, format!("`{word}` outside of `range`")));
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    let message = format!("named templates (`{word}`) are not supported");
                    return Err(Fault::new(first.at, message).fix("write the text where it is used"));
                }
                _ => nodes.push(Node::Action(pipe(tokens, first.at, 0)?)),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn control(
        &mut self,
        word: &str,
        at: usize,
        tokens: &[Token],
        depth: usize,
        in_loop: bool,
    ) -> Result<Node, Fault> {
        let head = pipe(tokens, at, 0)?;
        let (then, end) = self.block(depth + 1, in_loop || word == "range")?;
        let otherwise = match end {
            Stop::End(_) => Vec::new(),
            Stop::Text => return Err(Fault::new(at, format!("`{word}` has no `end`"))),
            // `else if …`: one `end` closes both
            Stop::Else(at, rest) if !rest.is_empty() => match rest.split_first() {
                Some((Token { kind: Kind::Word(next), .. }, rest))
                    if next == word && (word == "if" || word == "with") =>
                {
                    vec![self.control(word, at, rest, depth + 1, in_loop)?]
                }
                _ => {
                    return Err(Fault::new(at, format!("only `if` can follow `else`, and only in `{word}`")));
                }
            },
            Stop::Else(at, _) => match self.block(depth + 1, in_loop)? {
                (nodes, Stop::End(_)) => nodes,
                _ => return Err(Fault::new(at, "`else` has no `end`")),
            },
        };
        Ok(match word {
            "if" => Node::If { condition: head, then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::Range { over: head, each: then, otherwise },
        })
    }
}

fn pipe(tokens: &[Token], at: usize, depth: usize) -> Result<Pipe, Fault> {
    if depth > DEEPEST {
        return Err(Fault::new(at, "the template is nested too deeply"));
    }
    let (variables, declares, rest) = declaration(tokens);
    let mut commands = Vec::new();
    let mut level = 0_usize;
    let is_pipe = |token: &Token| {
        match token.kind {
            Kind::Open => level += 1,
            Kind::Close => level = level.saturating_sub(1),
            _ => {}
        }
        level == 0 && token.kind == Kind::Pipe
    };
    for part in rest.split(is_pipe) {
        let command = Command { operands: operands(part, depth)? };
        let Some(first) = command.operands.first() else {
            return Err(Fault::new(part.first().map_or(at, |token| token.at), "a value is missing"));
        };
        let is_function = matches!(first.term, Term::Function(_)) && first.fields.is_empty();
        if !is_function && (command.operands.len() > 1 || !commands.is_empty()) {
            return Err(Fault::new(first.at, "only a function can be given arguments"));
        }
        commands.push(command);
    }
    Ok(Pipe { variables, declares, commands, at })
}

/// `$x :=`, `$i, $x :=` or `$x =`.
fn declaration(tokens: &[Token]) -> (Vec<String>, bool, &[Token]) {
    let name = |index: usize| match tokens.get(index).map(|token| &token.kind) {
        Some(Kind::Variable(name)) if !name.is_empty() => Some(name.clone()),
        _ => None,
    };
    let kind = |index: usize| tokens.get(index).map(|token| &token.kind);
    let is_set = |index: usize| matches!(kind(index), Some(Kind::Declare | Kind::Assign));
    if let Some(first) = name(0) {
        if is_set(1) {
            return (vec![first], kind(1) == Some(&Kind::Declare), tokens.get(2..).unwrap_or_default());
        }
        if let (Some(Kind::Comma), Some(second), true) = (kind(1), name(2), is_set(3)) {
            let rest = tokens.get(4..).unwrap_or_default();
            return (vec![first, second], kind(3) == Some(&Kind::Declare), rest);
        }
    }
    (Vec::new(), false, tokens)
}

fn operands(tokens: &[Token], depth: usize) -> Result<Vec<Operand>, Fault> {
    let mut operands: Vec<Operand> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let term = match &token.kind {
            Kind::Dot => Term::Dot,
            Kind::Field(name) => match operands.last_mut() {
                Some(before) if !token.apart => {
                    before.fields.push(name.clone());
                    continue;
                }
                _ => {
                    operands.push(Operand { term: Term::Dot, fields: vec![name.clone()], at: token.at });
                    continue;
                }
            },
            Kind::Variable(name) => Term::Variable(name.clone()),
            Kind::Text(text) => Term::Text(text.clone()),
            Kind::Integer(number) => Term::Integer(*number),
            Kind::Float(number) => Term::Float(*number),
            Kind::Word(word) => match word.as_str() {
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nil" => Term::Nil,
                _ => Term::Function(known(word, token.at)?),
            },
            Kind::Open => {
                let end = matching(tokens.get(at..).unwrap_or_default())
                    .ok_or_else(|| Fault::new(token.at, "the parenthesis is not closed"))?;
                let inner = pipe(tokens.get(at..at + end).unwrap_or_default(), token.at, depth + 1)?;
                at += end + 1;
                Term::Pipe(Box::new(inner))
            }
            Kind::Close => return Err(Fault::new(token.at, "a parenthesis is closed that was not opened")),
            Kind::Pipe | Kind::Comma | Kind::Declare | Kind::Assign => {
                return Err(Fault::new(token.at, "this sign has no meaning here"));
            }
        };
        operands.push(Operand { term, fields: Vec::new(), at: token.at });
    }
    Ok(operands)
}

/// How many tokens stand before the parenthesis that closes.
fn matching(tokens: &[Token]) -> Option<usize> {
    let mut level = 1_usize;
    tokens.iter().position(|token| {
        match token.kind {
            Kind::Open => level += 1,
            Kind::Close => level -= 1,
            _ => {}
        }
        level == 0
    })
}

/// A function that there is here, or the reason why there is none.
fn known(name: &str, at: usize) -> Result<String, Fault> {
    if functions::NAMES.contains(&name) || sprig::NAMES.contains(&name) {
        return Ok(name.to_owned());
    }
    if functions::MISSING.contains(&name) {
        let message = format!("the function `{name}` of Go templates is not supported here");
        return Err(Fault::new(at, message).fix("write the value itself"));
    }
    let all = || functions::NAMES.iter().chain(sprig::NAMES).copied();
    let fault = Fault::new(at, format!("there is no function `{name}` in templates"));
    Err(match nearest(name, all()) {
        Some(meant) => fault.fix(format!("did you mean `{meant}`?")),
        None => fault,
    })
}
