//! Running a template.

use document::nearest;

use super::parse::{Command, Node, Operand, Pipe, Term};
use super::value::Value;
use super::{Fault, functions, print, sprig};

/// How long the result may become; a config is not longer, and a loop in a loop in a loop is no patch.
const LONGEST: usize = 8 * 1024 * 1024;

/// Runs the tree over the data.
pub(super) fn run(nodes: &[Node], data: &Value<'_>) -> Result<String, Fault> {
    let mut state = State { variables: vec![(String::new(), data.clone())], result: String::new() };
    state.walk(nodes, data)?;
    Ok(state.result)
}

struct State<'a> {
    /// Innermost last; `$` is the first.
    variables: Vec<(String, Value<'a>)>,
    result: String,
}

/// What happens after a node.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> State<'a> {
    fn walk(&mut self, nodes: &[Node], dot: &Value<'a>) -> Result<Flow, Fault> {
        for node in nodes {
            let scope = self.variables.len();
            let flow = match node {
                Node::Text(text) => {
                    self.result.push_str(text);
                    Flow::On
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        let text = print::print(&value).map_err(|message| Fault::new(pipe.at, message))?;
                        self.result.push_str(&text);
                        if self.result.len() > LONGEST {
                            return Err(Fault::new(
                                pipe.at,
                                "the template writes more than a config can hold",
                            ));
                        }
                    }
                    continue; // a variable that it declares lives to the end of the block
                }
                Node::If { condition, then, otherwise } => {
                    let value = self.pipe(condition, dot)?;
                    self.walk(if value.is_true() { then } else { otherwise }, dot)?
                }
                Node::With { value, then, otherwise } => {
                    let value = self.pipe(value, dot)?;
                    if value.is_true() { self.walk(then, &value)? } else { self.walk(otherwise, dot)? }
                }
                Node::Range { over, each, otherwise } => self.range(over, each, otherwise, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            self.variables.truncate(scope);
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        over: &Pipe,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value<'a>,
    ) -> Result<Flow, Fault> {
        // its variables are set for every element, not to the whole
        let plain = Pipe { variables: Vec::new(), ..over.clone() };
        let entries: Vec<(Value<'a>, Value<'a>)> = match self.pipe(&plain, dot)? {
            Value::Nil => Vec::new(),
            Value::List(items) => (0..).map(Value::Integer).zip(items).collect(),
            Value::Map(map) => map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect(),
            Value::Integer(count) => {
                (0..count.clamp(0, 100_000)).map(|n| (Value::Integer(n), Value::Integer(n))).collect()
            }
            other => {
                return Err(Fault::new(over.at, format!("`range` cannot go over {}", other.kind())));
            }
        };
        if entries.is_empty() {
            return self.walk(otherwise, dot);
        }
        for (key, value) in entries {
            let scope = self.variables.len();
            match over.variables.as_slice() {
                [] => {}
                [one] => self.set(one, value.clone(), over)?,
                [first, second, ..] => {
                    self.set(first, key, over)?;
                    self.set(second, value.clone(), over)?;
                }
            }
            let flow = self.walk(each, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, value: Value<'a>, pipe: &Pipe) -> Result<(), Fault> {
        if pipe.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(undeclared(name, pipe.at)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value<'a>) -> Result<Value<'a>, Fault> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe)?;
        }
        Ok(value)
    }

    /// A command; what the one before it gave is its last argument.
    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Result<Value<'a>, Fault> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let name = match &first.term {
            Term::Function(name) if first.fields.is_empty() => name.as_str(),
            _ => return self.operand(first, dot),
        };
        self.call(name, first.at, rest, piped, dot)
    }

    fn call(
        &mut self,
        name: &str,
        at: usize,
        operands: &[Operand],
        piped: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Result<Value<'a>, Fault> {
        let mut arguments = Vec::new();
        // what decides is the last that is looked at; the others are not even evaluated
        let decides = |value: &Value<'_>| match name {
            "and" => !value.is_true(),
            "or" => value.is_true(),
            _ => false,
        };
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if decides(&value) {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        let result = if functions::NAMES.contains(&name) {
            functions::call(name, &arguments)
        } else {
            sprig::call(name, &arguments)
        };
        result.map_err(|message| Fault::new(at, format!("`{name}`: {message}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value<'a>) -> Result<Value<'a>, Fault> {
        let mut value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                // `$` is the first, whatever is called nothing later
                Some((_, value)) => value.clone(),
                None => return Err(undeclared(name, operand.at)),
            },
            Term::Function(name) => self.call(name, operand.at, &[], None, dot)?,
            Term::Text(text) => Value::Text(text.clone()),
            Term::Integer(number) => Value::Integer(*number),
            Term::Float(number) => Value::Float(*number),
            Term::Bool(truth) => Value::Bool(*truth),
            Term::Nil => Value::Nil,
            Term::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        for field in &operand.fields {
            value = value.field(field).map_err(|message| {
                let fault = Fault::new(operand.at, message);
                match nearest(field, value.fields()) {
                    Some(meant) => fault.fix(format!("did you mean `{meant}`?")),
                    None => fault,
                }
            })?;
        }
        Ok(value)
    }
}

fn undeclared(name: &str, at: usize) -> Fault {
    Fault::new(at, format!("there is no variable `${name}`"))
        .fix(format!("declare it first: {{{{ ${name} := … }}}}"))
}
