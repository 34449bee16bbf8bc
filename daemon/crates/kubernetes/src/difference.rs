//! What differs between two states of one object, told by the names of the fields.

use serde_json::Value;

/// Fields that the server writes about an object: not part of what somebody wants of it.
const SERVER: [&str; 7] = [
    ".metadata.creationTimestamp",
    ".metadata.generation",
    ".metadata.managedFields",
    ".metadata.resourceVersion",
    ".metadata.selfLink",
    ".metadata.uid",
    ".status",
];

/// What is not there.
static NOTHING: Value = Value::Null;

/// The paths of the fields that differ, such as `.spec.template.spec.containers[0].image`; never their values.
/// Where one side has a whole branch that the other has not, the branch is named and not its leaves.
pub fn differences(one: &Value, other: &Value) -> Vec<String> {
    compared(one, other).into_iter().map(|(path, ..)| path).collect()
}

/// The same with both values, null for what is not there. They may be secret.
pub fn compared<'a>(one: &'a Value, other: &'a Value) -> Vec<(String, &'a Value, &'a Value)> {
    let mut found = Vec::new();
    collect(one, other, &mut String::new(), &mut found);
    found
}

fn collect<'a>(
    one: &'a Value,
    other: &'a Value,
    path: &mut String,
    found: &mut Vec<(String, &'a Value, &'a Value)>,
) {
    if SERVER.contains(&path.as_str()) || one == other {
        return;
    }
    let length = path.len();
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                path.push('.');
                path.push_str(name);
                let null: &Value = &NOTHING;
                collect(one.get(name).unwrap_or(null), other.get(name).unwrap_or(null), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                path.push_str(&format!("[{index}]"));
                collect(one, other, path, found);
                path.truncate(length);
            }
        }
        _ => found.push((path.clone(), one, other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_writes_is_no_difference() {
        let one = json!({ "metadata": { "name": "a", "uid": "1", "resourceVersion": "1", "generation": 1,
            "managedFields": [] }, "status": { "phase": "Active" } });
        let other = json!({ "metadata": { "name": "a", "resourceVersion": "2" } });
        assert_eq!(differences(&one, &other), Vec::<String>::new());
    }

    #[test]
    fn fields_are_named_and_values_are_not() {
        let one = json!({ "data": { "password": "hunter2", "same": "x" }, "list": [{ "a": 1 }, { "b": 1 }], "n": [1] });
        let other = json!({ "data": { "password": "hunter3", "same": "x" }, "list": [{ "a": 1 }, { "b": 2 }],
            "n": [1, 2], "new": { "branch": 1 } });
        assert_eq!(differences(&one, &other), [".data.password", ".list[1].b", ".n", ".new"]);
    }

    #[test]
    fn the_order_of_keys_is_no_difference() {
        assert!(differences(&json!({ "a": 1, "b": 2 }), &json!({ "b": 2, "a": 1 })).is_empty());
    }
}
