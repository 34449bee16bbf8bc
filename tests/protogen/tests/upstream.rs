//! Our protocol files are written by hand from notes. Talos's own generated Go code is asked whether they are right:
//! the same names, numbers and types, and no field left out of a message that we have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::Path,
    process::{Command, Stdio},
};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
struct Field {
    number: i32,
    r#type: String,
    repeated: bool,
    oneof: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Method {
    input: String,
    output: String,
    client_streaming: bool,
    server_streaming: bool,
}

type Named<T> = BTreeMap<String, BTreeMap<String, T>>;

/// What `tests/oracles/descriptors` prints.
#[derive(Debug, Default, Deserialize)]
struct Api {
    machinery: String,
    messages: Named<Field>,
    enums: Named<i32>,
    services: Named<Method>,
}

impl Api {
    fn ours() -> Self {
        let mut api = Self::default();
        for file in protogen::descriptors().unwrap().file {
            // Google's own types are not ours to write; the compiler brings them.
            if file.package() != "google.protobuf" {
                api.file(&file);
            }
        }
        api
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let package = format!(".{}", file.package());
        for message in &file.message_type {
            self.message(&package, message);
        }
        for described in &file.enum_type {
            self.enumeration(&package, described);
        }
        for service in &file.service {
            let methods = service.method.iter().map(|method| {
                let described = Method {
                    input: method.input_type().to_owned(),
                    output: method.output_type().to_owned(),
                    client_streaming: method.client_streaming(),
                    server_streaming: method.server_streaming(),
                };
                (method.name().to_owned(), described)
            });
            self.services.insert(format!("{package}.{}", service.name()), methods.collect());
        }
    }

    fn message(&mut self, parent: &str, message: &DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        let fields = message.field.iter().map(|field| {
            let oneof =
                field.oneof_index.map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name());
            let described = Field {
                number: field.number(),
                r#type: match field.r#type() {
                    Type::Message | Type::Enum => field.type_name().to_owned(),
                    scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
                },
                repeated: field.label() == Label::Repeated,
                oneof: oneof.unwrap_or_default().to_owned(),
            };
            (field.name().to_owned(), described)
        });
        self.messages.insert(name.clone(), fields.collect());
        for nested in &message.nested_type {
            self.message(&name, nested);
        }
        for nested in &message.enum_type {
            self.enumeration(&name, nested);
        }
    }

    fn enumeration(&mut self, parent: &str, described: &EnumDescriptorProto) {
        let values = described.value.iter().map(|value| (value.name().to_owned(), value.number()));
        self.enums.insert(format!("{parent}.{}", described.name()), values.collect());
    }
}

/// What Talos says, or why it cannot be asked here.
fn theirs() -> Result<Api, String> {
    let go = Command::new("go").arg("version").stdout(Stdio::null()).status();
    if let Err(error) = go {
        return Err(format!("go cannot be run: {error}"));
    }
    let flags = format!("{} -p=1", std::env::var("GOFLAGS").unwrap_or_default());
    let output = Command::new("nice")
        .args(["go", "run", "./descriptors"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracles"))
        .env("GOFLAGS", flags.trim())
        .output()
        .unwrap();
    assert!(output.status.success(), "the oracle failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

/// How `ours` differs from `theirs`. `whole` says that a thing which we have must have all its parts.
fn differences<T: PartialEq + Debug>(ours: &Named<T>, theirs: &Named<T>, whole: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, parts) in ours {
        let Some(upstream) = theirs.get(name) else {
            found.push(format!("{name} is not in Talos"));
            continue;
        };
        for (part, described) in parts {
            match upstream.get(part) {
                Some(wanted) if wanted == described => {}
                Some(wanted) => found.push(format!("{name}.{part} is {described:?}, in Talos {wanted:?}")),
                None => found.push(format!("{name}.{part} is not in Talos")),
            }
        }
        let left_out = upstream.keys().filter(|part| whole && !parts.contains_key(*part));
        found.extend(left_out.map(|part| format!("{name}.{part} is left out")));
    }
    found
}

#[test]
fn our_files_say_what_talos_says() {
    let theirs = match theirs() {
        Ok(theirs) => theirs,
        Err(why) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must compare with Talos, but {why}");
            println!("skipped: {why}");
            return;
        }
    };
    let ours = Api::ours();
    let mut found = differences(&ours.messages, &theirs.messages, true);
    found.extend(differences(&ours.enums, &theirs.enums, true));
    // A provisioner needs a few of the calls.
    found.extend(differences(&ours.services, &theirs.services, false));
    assert!(found.is_empty(), "different from Talos {}:\n{}", theirs.machinery, found.join("\n"));

    let methods: usize = ours.services.values().map(BTreeMap::len).sum();
    println!("{} messages and {methods} methods are as in Talos {}", ours.messages.len(), theirs.machinery);
    assert!(ours.messages.len() > 100 && methods > 30);
}

#[test]
fn a_difference_of_any_kind_is_found() {
    let api = |fields: &[(&str, i32)]| {
        let fields = fields.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        Named::from([(".a.B".to_owned(), fields)])
    };
    let theirs = api(&[("c", 1), ("d", 2)]);
    assert!(differences(&api(&[("c", 1), ("d", 2)]), &theirs, true).is_empty());
    assert!(differences(&api(&[("c", 1)]), &theirs, false).is_empty());
    assert_eq!(differences(&api(&[("c", 1)]), &theirs, true), [".a.B.d is left out"]);
    assert_eq!(differences(&api(&[("c", 3)]), &theirs, false), [".a.B.c is 3, in Talos 1"]);
    assert_eq!(differences(&api(&[("e", 3)]), &theirs, false), [".a.B.e is not in Talos"]);
    assert_eq!(differences(&api(&[]), &BTreeMap::new(), true), [".a.B is not in Talos"]);
}
