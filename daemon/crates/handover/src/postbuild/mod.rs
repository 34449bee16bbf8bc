//! What a Flux Kustomization puts in place of `${VARIABLES}` when it has built a folder (`spec.postBuild`), as kustomize-controller
//! does it: in the text of each object, so that what is put there may become a number, a list or a comment.

mod expression;
mod pattern;
mod scalar;

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use expression::ExpressionError;

/// By which label or annotation an object is left as it is.
const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";
const DISABLED: &str = "disabled";

/// The variables of a Kustomization. Their values may be secret, and are told to nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, Zeroizing<String>>,
    /// whether text is gone through even where there is no variable
    always: bool,
    /// whether a variable that is not there is an error
    strict: bool,
}

/// What cannot be put in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostBuildError {
    /// a variable that cannot be one
    #[error(
        "{0:?} cannot be the name of a variable: it is made of letters, digits and `_`, and does not begin with a digit"
    )]
    Name(String),
    /// an expression at a place that cannot be read
    #[error("{at}: {error}")]
    Expression {
        /// where in the object: `.spec.values.host`
        at: String,
        /// why
        error: ExpressionError,
    },
    /// what has come of it is no YAML any more
    #[error("{0} is no YAML any more once the variables are in it: quote the value of the variable")]
    Text(String),
}

impl fmt::Debug for Variables {
    /// Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("names", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Variables {
    /// None yet, by the rules of a Kustomization.
    pub fn of(kustomization: &Value, strict: bool) -> Self {
        let always = kustomization["spec"]["postBuild"]["substituteStrategy"] == "Always";
        Variables { values: BTreeMap::new(), always, strict }
    }

    /// Sets one; a later word wins. Line ends are left out, as Flux does it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PostBuildError> {
        let letter = |sign: char| sign == '_' || sign.is_ascii_alphabetic();
        let is_name =
            name.starts_with(letter) && name.chars().all(|sign| letter(sign) || sign.is_ascii_digit());
        if !is_name {
            return Err(PostBuildError::Name(name.to_owned()));
        }
        self.values.insert(name.to_owned(), Zeroizing::new(value.replace('\n', "")));
        Ok(())
    }

    /// The same where a variable that is not there is an error, as Flux has it when it is told to be strict.
    pub fn strictly(&self) -> Self {
        Variables { strict: true, ..self.clone() }
    }

    /// Whether there is anything to do.
    pub fn are_none(&self) -> bool {
        self.values.is_empty() && !self.always
    }

    /// An object with the values in their places.
    pub fn put_into(&self, object: &Value) -> Result<Value, PostBuildError> {
        let marks = [&object["metadata"]["labels"], &object["metadata"]["annotations"]];
        if self.are_none() || marks.into_iter().any(|marks| marks[SUBSTITUTE] == DISABLED) {
            return Ok(object.clone());
        }
        self.tree(object, "", scalar::Context::Value)
    }

    fn tree(&self, value: &Value, at: &str, context: scalar::Context) -> Result<Value, PostBuildError> {
        match value {
            Value::String(text) if text.contains('$') => self.scalar(text, at, context),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items = items
                    .map(|(index, item)| self.tree(item, &format!("{at}[{index}]"), scalar::Context::Item));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Value::Object(entries) => {
                let mut put = Map::new();
                for (key, entry) in entries {
                    let at = format!("{at}.{key}");
                    let entry = self.tree(entry, &at, scalar::Context::Value)?;
                    let key = match key.contains('$') {
                        true => scalar::key(&self.text(&scalar::written_key(key), &at)?)
                            .ok_or(PostBuildError::Text(at))?,
                        false => key.clone(),
                    };
                    put.insert(key, entry);
                }
                Ok(Value::Object(put))
            }
            other => Ok(other.clone()),
        }
    }

    fn scalar(&self, text: &str, at: &str, context: scalar::Context) -> Result<Value, PostBuildError> {
        let written = self.text(&scalar::written(text, context), at)?;
        scalar::read(&written, context).ok_or_else(|| PostBuildError::Text(at.to_owned()))
    }

    fn text(&self, text: &str, at: &str) -> Result<Zeroizing<String>, PostBuildError> {
        let put = expression::put(text, expression::Values { of: &self.values, strict: self.strict });
        put.map(Zeroizing::new).map_err(|error| PostBuildError::Expression { at: at.to_owned(), error })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables(strict: bool) -> Variables {
        let mut variables = Variables::of(&json!({}), strict);
        for (name, value) in
            [("HOST", "a.test"), ("N", "3"), ("LIST", "[a, b]"), ("NOTE", "# no"), ("LINES", "a\nb\n")]
        {
            variables.set(name, value).unwrap();
        }
        variables
    }

    #[test]
    fn what_is_put_there_is_read_as_yaml_again() {
        let object = json!({ "a": "${HOST}", "n": "${N}", "text": "x${N}", "list": ["${LIST}", "$${N}", "${MISSING}"],
            "note": "${NOTE}", "lines": "1: ${LINES}\n${N}\n", "${HOST}": "$HOST", "other": 7 });
        let expected = json!({ "a": "a.test", "n": 3, "text": "x3", "list": [["a", "b"], 3, null],
            "note": null, "lines": "1: ab\n3\n", "a.test": "$HOST", "other": 7 });
        // an escaped one is put in its place by the second time only, and here it stays text
        let mut expected = expected;
        expected["list"][1] = json!("${N}");
        assert_eq!(variables(false).put_into(&object), Ok(expected));
    }

    #[test]
    fn who_does_not_want_it_is_left_alone() {
        for field in ["labels", "annotations"] {
            let object = json!({ "metadata": { field: { SUBSTITUTE: "disabled" } }, "a": "${HOST}" });
            assert_eq!(variables(false).put_into(&object), Ok(object.clone()));
        }
        let defaults = json!({ "a": "${HOST:=b}" });
        assert_eq!(Variables::default().put_into(&defaults), Ok(defaults.clone()));
        let always =
            Variables::of(&json!({ "spec": { "postBuild": { "substituteStrategy": "Always" } } }), false);
        assert_eq!(always.put_into(&defaults), Ok(json!({ "a": "b" })));
    }

    #[test]
    fn faults_are_told_by_their_place_and_without_the_value() {
        let mut variables = variables(true);
        variables.set("BAD", "hunter2: hunter2").unwrap();
        for (value, said) in [
            ("${MISSING}", ".spec.a[0]: the variable `MISSING` is not set"),
            ("${MISSING^^}", ".spec.a[0]: the variable `MISSING` is not set"),
            ("${HOST", ".spec.a[0]: "),
            ("${}", ".spec.a[0]: "),
        ] {
            let error = variables.put_into(&json!({ "spec": { "a": [value] } })).unwrap_err().to_string();
            assert!(error.starts_with(said), "{value}: {error}");
        }
        let error = variables.put_into(&json!({ "spec": { "a": "x ${BAD}" } })).unwrap_err().to_string();
        assert!(error.starts_with(".spec.a is no YAML") && !error.contains("hunter2"), "{error}");
        assert_eq!(variables.put_into(&json!({ "a": "${MISSING:-x}" })), Ok(json!({ "a": "x" })));
        assert!(matches!(variables.set("1a", "x"), Err(PostBuildError::Name(_))));
        assert!(!format!("{variables:?}").contains("hunter2"));
    }
}
