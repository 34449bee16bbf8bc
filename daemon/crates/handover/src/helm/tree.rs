//! Values while they are put together. Parts are shared as the maps and slices of Go are: what is written through one name is
//! seen through the other, and in helm-controller it depends on that which of two values wins.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value};

/// A mapping that may be part of several trees.
pub(super) type Mapping = Rc<RefCell<BTreeMap<String, Tree>>>;

/// A list that may be part of several trees.
pub(super) type List = Rc<RefCell<Vec<Tree>>>;

/// Values.
#[derive(Clone)]
pub(super) enum Tree {
    /// by keys
    Mapping(Mapping),
    /// by numbers
    List(List),
    /// anything else
    Leaf(Value),
}

impl Tree {
    pub(super) fn of(value: &Value) -> Tree {
        match value {
            Value::Object(entries) => Tree::Mapping(mapping(entries)),
            Value::Array(items) => Tree::List(Rc::new(RefCell::new(items.iter().map(Tree::of).collect()))),
            other => Tree::Leaf(other.clone()),
        }
    }

    fn value(&self) -> Value {
        match self {
            Tree::Mapping(entries) => Value::Object(values(entries)),
            Tree::List(items) => items.borrow().iter().map(Tree::value).collect(),
            Tree::Leaf(value) => value.clone(),
        }
    }
}

pub(super) fn mapping(entries: &Map<String, Value>) -> Mapping {
    let entries = entries.iter().map(|(key, value)| (key.clone(), Tree::of(value)));
    Rc::new(RefCell::new(entries.collect()))
}

pub(super) fn values(mapping: &Mapping) -> Map<String, Value> {
    mapping.borrow().iter().map(|(key, tree)| (key.clone(), tree.value())).collect()
}

/// A new mapping of both: later values win, mappings are put together key by key, and what is below is shared.
pub(super) fn merged(former: &Mapping, later: &Mapping) -> Mapping {
    let mut both = former.borrow().clone();
    for (key, later) in later.borrow().iter() {
        let tree = match (both.get(key), later) {
            (Some(Tree::Mapping(former)), Tree::Mapping(later)) => Tree::Mapping(merged(former, later)),
            _ => later.clone(),
        };
        both.insert(key.clone(), tree);
    }
    Rc::new(RefCell::new(both))
}
