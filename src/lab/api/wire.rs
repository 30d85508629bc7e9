//! Protocol buffers, as far as clients send them: kubectl writes its own kinds so. Answers are JSON, which every client takes too.
//!
//! A field that is zero is sent like any other: what JSON would leave out is left out here too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::schema::{self, Field};
use crate::lab::store::Refused;

/// Before every object.
const MAGIC: &[u8] = b"k8s\0";
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Messages within messages; the API's own are less deep.
const DEPTH: usize = 40;

/// One field as it lies on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is left to be read of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next field's number, and what stands in it.
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    /// The text or the message in the first field of a number, if it is there.
    fn find(mut self, number: u64) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            match self.field()? {
                (found, Wire::Bytes(bytes)) if found == number => return Some(bytes),
                _ => {}
            }
        }
        None
    }
}

/// Reads an object.
///
/// # Errors
///
/// When it is none, or of a kind that is not known.
pub(super) fn read(body: &[u8]) -> Result<Value, Refused> {
    let unread =
        || Refused::bad_request("provided data does not appear to be a protobuf message of a kind that the lab knows");
    let envelope = body.strip_prefix(MAGIC).ok_or_else(unread)?;
    let kind = Reader(envelope).find(1).unwrap_or_default();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (version, kind) = (text(Reader(kind).find(1)), text(Reader(kind).find(2)));
    let raw = Reader(envelope).find(2).unwrap_or_default();
    let mut object = message(&schema::of_kind(&version, &kind), raw, DEPTH).ok_or_else(unread)?;
    object.insert("apiVersion".to_owned(), version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let of = schema::message(name)?;
    let (mut object, mut reader) = (Map::new(), Reader(bytes));
    while !reader.0.is_empty() {
        let (number, wire) = reader.field()?;
        // A newer client may send what this version does not know.
        let Some(field) = of.numbered(number) else { continue };
        if field.map {
            entry(&mut object, field, &wire, depth)?;
            continue;
        }
        match value(field.of, &wire, depth)? {
            Value::Null => {}
            Value::Object(inner) if field.name.is_empty() => object.extend(inner),
            value if field.list => {
                if let Value::Array(all) = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
                    all.push(value);
                }
            }
            value if field.optional && is_zero(&value) => {}
            value => drop(object.insert(field.name.to_owned(), value)),
        }
    }
    Some(object)
}

/// An entry of a map: a message of its key and its value.
fn entry(object: &mut Map<String, Value>, field: Field, wire: &Wire<'_>, depth: usize) -> Option<()> {
    let Wire::Bytes(bytes) = wire else { return None };
    let (mut key, mut reader) = (String::new(), Reader(bytes));
    let mut of = if matches!(field.of, "s" | "b") { Value::from("") } else { Value::Null };
    while !reader.0.is_empty() {
        match reader.field()? {
            (1, Wire::Bytes(bytes)) => key = String::from_utf8(bytes.to_vec()).ok()?,
            (2, wire) => of = value(field.of, &wire, depth)?,
            _ => {}
        }
    }
    object.entry(field.name).or_insert_with(|| Value::Object(Map::new()))[key] = of;
    Some(())
}

/// What stands in a field; null: nothing. `None`: it can't be read.
fn value(of: &str, wire: &Wire<'_>, depth: usize) -> Option<Value> {
    Some(match (of, wire) {
        ("i", Wire::Number(number)) => Value::from(number.cast_signed()),
        ("t", Wire::Number(number)) => Value::Bool(*number != 0),
        ("d", Wire::Number(bits)) => Value::from(f64::from_bits(*bits)),
        ("s", Wire::Bytes(bytes)) => Value::from(std::str::from_utf8(bytes).ok()?),
        ("b", Wire::Bytes(bytes)) => Value::from(STANDARD.encode(bytes)),
        ("meta.Time", Wire::Bytes(bytes)) => time(bytes, false)?,
        ("meta.MicroTime", Wire::Bytes(bytes)) => time(bytes, true)?,
        ("resource.Quantity", Wire::Bytes(bytes)) => {
            Value::from(std::str::from_utf8(Reader(bytes).find(1).unwrap_or(b"0")).ok()?)
        }
        ("intstr.IntOrString", Wire::Bytes(bytes)) => int_or_string(bytes)?,
        ("runtime.RawExtension" | "meta.FieldsV1", Wire::Bytes(bytes)) => match Reader(bytes).find(1) {
            Some(raw) => serde_json::from_slice(raw).ok()?,
            None => Value::Null,
        },
        (name, Wire::Bytes(bytes)) => Value::Object(message(name, bytes, depth.checked_sub(1)?)?),
        _ => return None,
    })
}

/// A time of the API, in seconds or finer; an empty one is none.
fn time(bytes: &[u8], fine: bool) -> Option<Value> {
    let (mut seconds, mut nanos, mut reader) = (None, 0, Reader(bytes));
    while !reader.0.is_empty() {
        match reader.field()? {
            (1, Wire::Number(number)) => seconds = Some(number.cast_signed()),
            (2, Wire::Number(number)) => nanos = i32::try_from(number).ok()?,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Some(Value::Null) };
    let time = Timestamp::new(seconds, nanos).ok()?;
    Some(Value::from(if fine { format!("{time:.6}") } else { format!("{time:.0}") }))
}

fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut text, mut reader) = (false, 0, "", Reader(bytes));
    while !reader.0.is_empty() {
        match reader.field()? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = std::str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some(if is_text { Value::from(text) } else { Value::from(number) })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(number & 0x7f).unwrap();
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }

    /// A field with its length.
    fn part(number: u64, bytes: &[u8]) -> Vec<u8> {
        [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    fn sent(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [part(1, version.as_bytes()), part(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), part(1, &meta), part(2, raw)].concat()
    }

    #[test]
    fn an_object_is_what_its_json_would_be() {
        // As kubectl sends it: what is not set is sent too, as zero.
        let labels = part(11, &[part(1, b"app"), part(2, b"web")].concat());
        let meta = [part(1, b"web"), part(2, b""), part(3, b"shop"), labels, part(8, b"")].concat();
        let port = [part(1, b"http"), number(2, 0), number(3, 8080)].concat();
        let probe = {
            let get = [part(1, b"/"), part(2, &[number(1, 1), number(2, 0), part(3, b"http")].concat())].concat();
            // The handler lies in a message of its own, and in JSON in the probe itself.
            [part(1, &part(2, &get)), number(2, 5)].concat()
        };
        let limits = part(1, &[part(1, b"cpu"), part(2, &part(1, b"250m"))].concat());
        let container =
            [part(1, b"web"), part(2, b"web:1"), part(6, &port), part(8, &limits), part(10, &probe)].concat();
        let spec = [part(2, &container), number(4, 30), part(10, b"")].concat();
        let pod = read(&sent("v1", "Pod", &[part(1, &meta), part(2, &spec), part(3, b"")].concat())).unwrap();
        let wanted = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 30, "containers": [{
                "name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"limits": {"cpu": "250m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5},
            }]},
            "status": {},
        });
        assert_eq!(pod, wanted);
    }

    #[test]
    fn zero_stays_where_it_means_something_and_bytes_and_times_are_text() {
        let spec = number(1, 0);
        let scaled = read(&sent("apps/v1", "Deployment", &part(2, &spec))).unwrap();
        assert_eq!(scaled["spec"]["replicas"], 0);
        let secret = part(2, &[part(1, b"key"), part(2, b"text")].concat());
        assert_eq!(read(&sent("v1", "Secret", &secret)).unwrap()["data"]["key"], "dGV4dA==");
        let time = [number(1, 1_800_000_000), number(2, 500_000_000)].concat();
        let lease = read(&sent("coordination.k8s.io/v1", "Lease", &part(2, &part(4, &time)))).unwrap();
        assert_eq!(lease["spec"]["renewTime"].as_str(), Some("2027-01-15T08:00:00.500000Z"));
        let created = read(&sent("v1", "Pod", &part(1, &part(8, &time)))).unwrap();
        assert_eq!(created["metadata"]["creationTimestamp"], "2027-01-15T08:00:00Z");
        let options = read(&sent("apps/v1", "DeleteOptions", &number(1, 0))).unwrap();
        assert_eq!(options["gracePeriodSeconds"], 0);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = sent("v1", "Pod", &part(1, &part(1, b"web")));
        for end in 0..whole.len() - 1 {
            // Cut short, it may be nothing at all, but never another object.
            let cut = read(&whole[..end]);
            assert!(cut.as_ref().is_err() || cut.as_ref().unwrap()["metadata"]["name"] == Value::Null, "{cut:?}");
        }
        for wrong in [
            b"{}".to_vec(),
            sent("v1", "Widget", b""),
            sent("v1", "Pod", &[0xff; 12]),
            sent("v1", "Pod", &part(1, &[9])),
        ] {
            assert_eq!(read(&wrong).unwrap_err().code, 400);
        }
    }
}
