//! What `helm --set PATH=VALUE` does to a tree of values, with its own rules for lists, escapes and types.
//!
//! Errors never tell the value: it may be a secret.

use std::{cell::RefCell, rc::Rc};

use serde_json::{Value, json};

use super::tree::{List, Mapping, Tree};

/// Helm's own limits.
const DEEPEST: usize = 30;
const LAST: usize = 65_536;

/// A path or value that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// the path says something that the values there are not
    #[error("its path leads through something that is there and no {0}")]
    Other(&'static str),
    /// the path itself
    #[error("its path is none: {0}")]
    Path(&'static str),
    /// a comma or bracket in the value that means something
    #[error("its value has a comma or bracket that `helm --set` reads as its own")]
    Value,
}

/// What a value is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// numbers, truths and nothing are such
    Typed,
    /// everything is a text
    Text,
}

/// Sets a value.
pub(super) fn set(values: &Mapping, path: &str, value: &str, reading: Reading) -> Result<(), PathError> {
    let rest: Vec<char> = path.chars().chain(['=']).chain(value.chars()).collect();
    let mut setting = Setting { rest: &rest, reading };
    loop {
        match setting.key(values, 0) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Wrong(error)) => return Err(error),
        }
    }
}

/// Why a part of the text ends.
enum Stop {
    /// there is no more
    End,
    Wrong(PathError),
}

impl From<PathError> for Stop {
    fn from(error: PathError) -> Self {
        Stop::Wrong(error)
    }
}

struct Setting<'a> {
    rest: &'a [char],
    reading: Reading,
}

impl Setting<'_> {
    /// A key and what it is set to.
    fn key(&mut self, values: &Mapping, depth: usize) -> Result<(), Stop> {
        let (key, sign) = self.until(&['=', '[', ',', '.']);
        match sign {
            None if key.is_empty() => Err(Stop::End),
            // a comma has ended the value, and what follows is read as another path
            None | Some(',') => Err(PathError::Value.into()),
            Some('[') => {
                let index = self.index()?;
                let list = match there(values, &key) {
                    None => List::default(),
                    Some(Tree::List(list)) => list,
                    Some(_) => return Err(PathError::Other("list").into()),
                };
                let (list, end) = self.item(list, index, depth);
                put(values, key, Tree::List(list));
                end
            }
            Some('=') => {
                let ends = self.rest.is_empty();
                let value = self.value()?;
                put(values, key, value);
                if ends { Err(Stop::End) } else { Ok(()) }
            }
            Some(_) => {
                let inner = match there(values, &key) {
                    None => Mapping::default(),
                    Some(Tree::Mapping(inner)) => inner,
                    Some(_) => return Err(PathError::Other("mapping").into()),
                };
                if depth == DEEPEST {
                    return Err(PathError::Path("it has more than 30 parts").into());
                }
                let end = self.key(&inner, depth + 1);
                let empty = inner.borrow().is_empty();
                if end.is_ok() && empty {
                    return Err(PathError::Path("a part of it has no name").into());
                }
                if !empty {
                    put(values, key, Tree::Mapping(inner));
                }
                end
            }
        }
    }

    /// An item of a list, and the list with it: the same one where it has had the item, else a longer one.
    fn item(&mut self, list: List, index: usize, depth: usize) -> (List, Result<(), Stop>) {
        let (more, sign) = self.until(&['[', '.', '=']);
        if !more.is_empty() {
            return (list, Err(PathError::Path("something follows a bracket").into()));
        }
        match sign {
            None => (list, Err(Stop::End)),
            Some('=') => match self.value() {
                Ok(value) => placed(list, index, value),
                Err(error) => (list, Err(error.into())),
            },
            Some('[') => {
                let next = match self.index() {
                    Ok(next) => next,
                    Err(error) => return (list, Err(error.into())),
                };
                let there = list.borrow().get(index).cloned();
                let inner = match there {
                    None | Some(Tree::Leaf(Value::Null)) => List::default(),
                    Some(Tree::List(inner)) => inner,
                    Some(_) => return (list, Err(PathError::Other("list").into())),
                };
                match self.item(inner, next, depth) {
                    (inner, Ok(())) => placed(list, index, Tree::List(inner)),
                    (_, stop) => (list, stop),
                }
            }
            Some(_) => {
                let inner = match list.borrow_mut().get_mut(index) {
                    None => Mapping::default(),
                    Some(Tree::Mapping(inner)) => inner.clone(),
                    Some(other) => {
                        let inner = Mapping::default();
                        *other = Tree::Mapping(inner.clone());
                        inner
                    }
                };
                match self.key(&inner, depth) {
                    Ok(()) => placed(list, index, Tree::Mapping(inner)),
                    stop => (list, stop),
                }
            }
        }
    }

    /// The number in brackets.
    fn index(&mut self) -> Result<usize, PathError> {
        let (number, sign) = self.until(&[']']);
        let number = sign.and_then(|_| number.parse::<usize>().ok());
        number.ok_or(PathError::Path("between brackets is a number"))
    }

    /// One value, or a list in braces.
    fn value(&mut self) -> Result<Tree, PathError> {
        let Some(('{', rest)) = self.rest.split_first() else {
            let (text, _) = self.until(&[',']);
            return Ok(Tree::Leaf(self.typed(text)));
        };
        self.rest = rest;
        let mut list = Vec::new();
        loop {
            let (text, sign) = self.until(&[',', '}']);
            let Some(sign) = sign else { return Err(PathError::Value) };
            list.push(Tree::Leaf(self.typed(text)));
            if sign == '}' {
                break;
            }
        }
        if let Some((',', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        Ok(Tree::List(Rc::new(RefCell::new(list))))
    }

    fn typed(&self, text: String) -> Value {
        if self.reading == Reading::Text {
            return json!(text);
        }
        match text.to_ascii_lowercase().as_str() {
            "true" => json!(true),
            "false" => json!(false),
            "null" => Value::Null,
            "0" => json!(0),
            // a number that begins with a nought is a name
            _ if text.starts_with('0') => json!(text),
            _ => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        }
    }

    /// The text before one of these signs, and the sign; a backslash takes the meaning from what follows it.
    fn until(&mut self, signs: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some((sign, rest)) = self.rest.split_first() {
            self.rest = rest;
            match *sign {
                sign if signs.contains(&sign) => return (text, Some(sign)),
                '\\' => {
                    let Some((next, rest)) = self.rest.split_first() else { break };
                    self.rest = rest;
                    text.push(*next);
                }
                sign => text.push(sign),
            }
        }
        (text, None)
    }
}

fn there(values: &Mapping, key: &str) -> Option<Tree> {
    values.borrow().get(key).cloned()
}

fn put(values: &Mapping, key: String, value: Tree) {
    if !key.is_empty() {
        values.borrow_mut().insert(key, value);
    }
}

fn placed(list: List, index: usize, value: Tree) -> (List, Result<(), Stop>) {
    if let Some(item) = list.borrow_mut().get_mut(index) {
        *item = value;
        return (list.clone(), Ok(()));
    }
    if index > LAST {
        return (list, Err(PathError::Path("a list has no more than 65536 items").into()));
    }
    let mut longer = list.borrow().clone();
    longer.resize_with(index, || Tree::Leaf(Value::Null));
    longer.push(value);
    (Rc::new(RefCell::new(longer)), Ok(()))
}
