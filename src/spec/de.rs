//! A serde deserialiser over the tree, so that the derives of the document's types stay the one source of truth.
//!
//! It knows the node of every failure, follows YAML 1.2's rules for what a plain scalar is, tells a [`Reader`] of unknown fields and
//! doubtful texts as it goes, and skips what the reader has pruned because it failed before.

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::failure::{Failure, Kind};
use super::node::{Body, Entry, Node, Plain, Scalar};
use super::reader::Reader;

/// Deserialises one node.
#[derive(Clone, Copy)]
pub(super) struct De<'a> {
    pub node: &'a Node,
    pub reader: &'a Reader<'a>,
}

impl<'a> De<'a> {
    fn child(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    /// The scalar, unless nothing stands there.
    fn scalar(self, wrong: impl FnOnce() -> Failure) -> Result<&'a Scalar, Failure> {
        if self.reader.is_broken(self.node.id) {
            return Err(Failure::new(Kind::Broken));
        }
        match &self.node.body {
            Body::Scalar(scalar) if scalar.plain() != Plain::Null => Ok(scalar),
            _ => Err(wrong()),
        }
    }

    /// Runs a visitor and says where it failed.
    fn placed<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| failure.at(self.node.id))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let scalar = self.scalar(|| Failure::wrong_type(&visitor))?;
        let plain = if scalar.is_variable { Plain::of(&scalar.text) } else { scalar.plain() };
        if matches!(plain, Plain::Unsigned(_) | Plain::Signed(_)) && has_leading_zero(&scalar.text) {
            return Err(leading_zero(&scalar.text));
        }
        match plain {
            Plain::Unsigned(number) => visitor.visit_u64(number),
            Plain::Signed(number) => visitor.visit_i64(number),
            _ => Err(Failure::wrong_type(&visitor)),
        }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.body {
            Body::List(items) => visitor.visit_seq(Items { de: self, items: items.iter() }),
            Body::Map(map) => {
                visitor.visit_map(Fields { de: self, entries: map.entries.iter().collect(), value: None })
            }
            Body::Scalar(_) => {
                let scalar = self.scalar(|| Failure::wrong_type(&visitor))?;
                if scalar.is_variable && Plain::of(&scalar.text).is_as_written(&scalar.text) {
                    return self.number(visitor);
                }
                match scalar.plain() {
                    Plain::Bool(value) => visitor.visit_bool(value),
                    Plain::Unsigned(_) | Plain::Signed(_) => self.number(visitor),
                    Plain::Float(number) => visitor.visit_f64(number),
                    Plain::Text | Plain::Null => {
                        self.reader.doubt(self.node, scalar);
                        visitor.visit_str(&scalar.text)
                    }
                }
            }
        }
    }
}

impl Plain {
    /// Whether it is a whole number that prints as it was written.
    fn is_as_written(self, text: &str) -> bool {
        match self {
            Self::Unsigned(number) => number.to_string() == text,
            Self::Signed(number) => number.to_string() == text,
            _ => false,
        }
    }
}

/// `010` is ten in YAML 1.2 and eight in YAML 1.1: nobody should have to know.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

fn leading_zero(text: &str) -> Failure {
    let digits = text.trim_start_matches(['-', '+']).trim_start_matches('0');
    Failure::said(
        super::diagnostic::Code::BadValue,
        format!("a leading zero is ambiguous: `{text}` is octal for some readers of YAML"),
        format!("write `{}`", if digits.is_empty() { "0" } else { digits }),
    )
}

macro_rules! whole_numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.placed(self.number(visitor))
        })+
    };
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(self.any(visitor))
    }

    whole_numbers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = self.scalar(|| Failure::wrong_type(&visitor)).and_then(|scalar| {
            match if scalar.is_variable { Plain::of(&scalar.text) } else { scalar.plain() } {
                Plain::Bool(value) => Ok(value),
                _ => Err(Failure::wrong_type(&visitor)),
            }
        });
        self.placed(value.and_then(|value| visitor.visit_bool(value)))
    }

    /// A value with a grammar of its own, which says best what is wrong with a bare number.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.scalar(|| Failure::wrong_type(&visitor)).and_then(|scalar| match scalar.plain() {
            Plain::Bool(_) => Err(Failure::wrong_type(&visitor)),
            _ => Ok(scalar.text.as_str()),
        });
        self.placed(text.and_then(|text| visitor.visit_str(text)))
    }

    /// A text: what YAML takes for a number or a truth value needs quotes.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.scalar(|| Failure::wrong_type(&visitor)).and_then(|scalar| match scalar.plain() {
            Plain::Text => {
                self.reader.doubt(self.node, scalar);
                Ok(scalar.text.as_str())
            }
            _ => Err(Failure::wrong_type(&visitor)),
        });
        self.placed(text.and_then(|text| visitor.visit_str(text)))
    }

    /// A field without a value is a mistake, not a way to leave it out.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.body {
            Body::List(items) => visitor.visit_seq(Items { de: self, items: items.iter() }),
            _ if self.reader.is_broken(self.node.id) => Err(Failure::new(Kind::Broken)),
            _ => Err(Failure::wrong_type(&visitor)),
        };
        self.placed(result)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.body {
            Body::Map(map) => {
                visitor.visit_map(Fields { de: self, entries: map.entries.iter().collect(), value: None })
            }
            _ if self.reader.is_broken(self.node.id) => Err(Failure::new(Kind::Broken)),
            _ => Err(Failure::wrong_type(&visitor)),
        };
        self.placed(result)
    }

    /// Unknown fields go to the reader; the others come in the order of `fields`.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Body::Map(map) = &self.node.body else {
            return self.deserialize_map(visitor);
        };
        let mut known: Vec<(usize, &Entry)> = Vec::new();
        for entry in &map.entries {
            match fields.iter().position(|field| *field == entry.key) {
                Some(position) => known.push((position, entry)),
                None => self.reader.unknown_field(self.node, entry, fields),
            }
        }
        known.sort_by_key(|(position, _)| *position);
        let entries = known.into_iter().map(|(_, entry)| entry).collect();
        let result = visitor.visit_map(Fields { de: self, entries, value: None });
        self.placed(result.map_err(|failure| failure.of(name)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let wrong = || Failure::new(Kind::Type(format!("one of `{}`", variants.join("`, `"))));
        let scalar = match self.scalar(wrong) {
            Ok(scalar) => scalar,
            Err(failure) => return Err(failure.at(self.node.id)),
        };
        if !variants.contains(&scalar.text.as_str()) {
            return Err(Reader::unknown_choice(&scalar.text, variants).at(self.node.id));
        }
        let variant: StrDeserializer<'_, Failure> = scalar.text.as_str().into_deserializer();
        self.placed(visitor.visit_enum(variant))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The items of a list, less the pruned ones.
struct Items<'a> {
    de: De<'a>,
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let de = self.de;
        match self.items.find(|item| !de.reader.is_pruned(item.id)) {
            Some(item) => {
                let de = de.child(item);
                de.placed(seed.deserialize(de)).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The fields of a mapping, less the pruned ones.
struct Fields<'a> {
    de: De<'a>,
    entries: std::collections::VecDeque<&'a Entry>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        while let Some(entry) = self.entries.pop_front() {
            if self.de.reader.is_pruned(entry.value.id) {
                continue;
            }
            self.value = Some(&entry.value);
            let key: StringDeserializer<Failure> = entry.key.clone().into_deserializer();
            // A key is refused for what it is called, so the place to show is the key of its value.
            return seed.deserialize(key).map(Some).map_err(|failure| failure.at(entry.value.id));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        match self.value.take() {
            Some(node) => {
                let de = self.de.child(node);
                de.placed(seed.deserialize(de))
            }
            None => Err(Failure::new(Kind::Broken)),
        }
    }
}
