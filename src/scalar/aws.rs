//! Which account and region of AWS are meant: `"123456789012"`, `us-east-1`.

use std::fmt;
use std::str::FromStr;

use super::text::text_serde;
use super::{ScalarError, quoted};

/// The id of an AWS account: twelve digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(String);

impl AccountId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        let error = ScalarError::new(format!("{} is not the id of an AWS account", quoted(text)));
        Err(error.hint("write its twelve digits in quotes; `aws sts get-caller-identity` prints them"))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(
    AccountId,
    deserialize_str,
    "the twelve digits of an AWS account in quotes",
    "The id of an AWS account: twelve digits, in quotes.",
    "^[0-9]{12}$",
    ["123456789012"]
);

/// A region of AWS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(String);

impl Region {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let lower = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let parts: Vec<&str> = text.split('-').collect();
        if let [words @ .., number] = parts.as_slice()
            && words.len() >= 2
            && words.iter().all(|word| lower(word))
        {
            let digits = number.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 && digits == number.len() {
                return Ok(Self(text.to_owned()));
            }
            if digits > 0 && number[digits..].len() == 1 {
                let region = &text[..text.len() - 1];
                let error = ScalarError::new(format!("{} is a zone, not a region", quoted(text)));
                return Err(error.at(text.len() - 1).hint(format!("write `{region}`")));
            }
        }
        let error = ScalarError::new(format!("{} is not a region of AWS", quoted(text)));
        Err(error.hint("write it as AWS does: `us-east-1`, `eu-central-1`"))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(
    Region,
    deserialize_str,
    "a region of AWS, such as `us-east-1`",
    "A region of AWS.",
    "^[a-z]+(-[a-z]+)+-[0-9]+$",
    ["us-east-1", "eu-central-1"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_accounts_and_regions() {
        assert_eq!("123456789012".parse::<AccountId>().unwrap().to_string(), "123456789012");
        assert_eq!("us-gov-west-1".parse::<Region>().unwrap().as_str(), "us-gov-west-1");
        for wrong in ["12345678901", "1234-5678-9012", ""] {
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong}");
        }
        for wrong in ["us-east", "us-east-", "US-EAST-1", "us--1", "useast1", ""] {
            assert!(wrong.parse::<Region>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tells_a_zone_from_a_region() {
        let error = "us-east-1a".parse::<Region>().unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.hint.as_deref()),
            ("`us-east-1a` is a zone, not a region", Some("write `us-east-1`"))
        );
    }
}
