//! The credentials of 1Password Connect, in whatever wrapping people have them.
//!
//! Charts before 2.3 hand them over in an environment variable, which must hold base64; later ones mount a file, which
//! must hold the JSON itself. People copy the one into the other, and what Connect says then helps nobody.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use serde_json::Value;
use zeroize::Zeroizing;

/// How many wrappings are looked through: a Secret's own, that of the environment, and one by mistake.
const WRAPPINGS: usize = 4;

/// What the JSON must have to be a Connect server's.
const KEYS: [&str; 4] = ["verifier", "encCredentials", "uniqueKey", "deviceUuid"];

/// Checked credentials, as the JSON that 1Password gave.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectCredentials(Zeroizing<String>);

/// How Connect reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// From a mounted file: charts of 2.3 and later.
    File,
    /// From an environment variable: charts before 2.3.
    Environment,
}

/// The text is no credentials of a Connect server. Never says what the text was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Neither JSON nor anything that JSON may be wrapped in.
    #[error(
        "the 1Password Connect credentials are neither JSON nor base64 of it; a field may have cut them off: take the document"
    )]
    Unreadable,
    /// Another version.
    #[error(
        "the 1Password Connect credentials are of version {0:?}, and Connect reads only version \"2\": make a new Connect server"
    )]
    Version(String),
    /// A part is not there.
    #[error(
        "the 1Password Connect credentials have no {0}: this is not the 1password-credentials.json of a Connect server"
    )]
    Missing(&'static str),
}

impl fmt::Debug for ConnectCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectCredentials(…)")
    }
}

impl ConnectCredentials {
    /// Reads JSON, base64 of it, base64 of that, each also escaped for a URL.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let mut text = Zeroizing::new(text.trim().to_owned());
        for _ in 0..WRAPPINGS {
            match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(object)) => {
                    let version = object.get("version").and_then(Value::as_str).unwrap_or_default();
                    if version != "2" {
                        return Err(CredentialsError::Version(version.chars().take(20).collect()));
                    }
                    if let Some(key) =
                        KEYS.into_iter().find(|key| object.get(*key).is_none_or(Value::is_null))
                    {
                        return Err(CredentialsError::Missing(key));
                    }
                    return Ok(ConnectCredentials(text));
                }
                // JSON as a text of JSON.
                Ok(Value::String(inner)) => text = Zeroizing::new(inner),
                _ => text = unwrapped(&text).ok_or(CredentialsError::Unreadable)?,
            }
        }
        Err(CredentialsError::Unreadable)
    }

    /// What belongs into the Secret, before the Secret's own base64.
    pub fn for_delivery(&self, delivery: Delivery) -> Zeroizing<String> {
        match delivery {
            Delivery::File => self.0.clone(),
            Delivery::Environment => Zeroizing::new(BASE64_STANDARD.encode(self.0.as_bytes())),
        }
    }
}

/// Takes one wrapping away.
fn unwrapped(text: &str) -> Option<Zeroizing<String>> {
    // Nothing that base64 writes has a percent sign.
    let plain = if text.contains('%') { unescaped(text)? } else { Zeroizing::new(text.to_owned()) };
    if plain.starts_with('{') {
        return Some(plain);
    }
    let packed: Zeroizing<String> =
        Zeroizing::new(plain.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(packed.as_bytes()).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    Some(Zeroizing::new(text.trim().to_owned()))
}

fn unescaped(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let code = rest.get(..2).and_then(|code| std::str::from_utf8(code).ok())?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes.to_vec()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"verifier":{"salt":"hunter2"},"encCredentials":{"kid":"x"},"version":"2","deviceUuid":"d","uniqueKey":{"kid":"y"}}"#;

    fn escaped(text: &str) -> String {
        text.replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
            .replace('{', "%7B")
            .replace('"', "%22")
    }

    #[test]
    fn every_wrapping_that_people_have_leads_to_the_json() {
        let once = BASE64_STANDARD.encode(JSON);
        let twice = BASE64_STANDARD.encode(&once);
        let url_safe = once.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
        let broken =
            once.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>();
        for text in [
            JSON.to_owned(),
            format!("\n{JSON}\n"),
            once.clone(),
            broken.join("\n"),
            url_safe,
            twice.clone(),
            escaped(&once),
            escaped(&twice),
            escaped(JSON),
            Value::String(JSON.to_owned()).to_string(),
        ] {
            let found = ConnectCredentials::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(*found.for_delivery(Delivery::File), *JSON, "{text}");
            assert_eq!(*found.for_delivery(Delivery::Environment), once);
            assert!(!format!("{found:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_is_none_is_refused_without_being_told() {
        let cut = JSON.get(..60).unwrap();
        for (text, expected) in [
            ("hunter2", CredentialsError::Unreadable),
            ("", CredentialsError::Unreadable),
            ("%", CredentialsError::Unreadable),
            ("[]", CredentialsError::Unreadable),
            (cut, CredentialsError::Unreadable),
            (&BASE64_STANDARD.encode(cut), CredentialsError::Unreadable),
            (&JSON.replace("\"2\"", "\"1\""), CredentialsError::Version("1".to_owned())),
            ("{}", CredentialsError::Version(String::new())),
            (&JSON.replace("uniqueKey", "other"), CredentialsError::Missing("uniqueKey")),
        ] {
            let error = ConnectCredentials::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
