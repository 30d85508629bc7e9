//! The expressions of the plugin `view`: which queries a server block takes.
//!
//! Of the expression language (expr-lang) this reads comparisons, `%`, `in`, `and`, `or`, `not`, strings, numbers, lists, and the functions
//! `client_ip`, `incidr`, `name`, `type`, `proto`, `port` and `now().Nanosecond()`. An expression with anything else holds for every query.

use std::net::IpAddr;

use super::message::Query;

/// What an expression is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub query: Query<'a>,
    /// The port at which it came.
    pub port: u16,
    /// The nanoseconds of the clock's second: as good as dice.
    pub nanosecond: u32,
}

/// An expression, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Number(i64),
    Truth(bool),
    List(Vec<Expression>),
    Call(Function, Vec<Expression>),
    Not(Box<Expression>),
    Pair(Box<Expression>, Operator, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    ClientIp,
    InCidr,
    Name,
    Type,
    Proto,
    Port,
    Nanosecond,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Differs,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Remainder,
}

impl Operator {
    const ALL: [(&'static str, Self); 12] = [
        ("||", Self::Or),
        ("or", Self::Or),
        ("&&", Self::And),
        ("and", Self::And),
        ("==", Self::Equal),
        ("!=", Self::Differs),
        ("<", Self::Less),
        ("<=", Self::AtMost),
        (">", Self::More),
        (">=", Self::AtLeast),
        ("in", Self::In),
        ("%", Self::Remainder),
    ];

    /// How tightly it binds.
    const fn rank(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Remainder => 4,
            _ => 3,
        }
    }
}

impl Expression {
    /// Reads an expression. `None`: there is something in it that this does not know.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = words(text)?;
        words.reverse();
        let read = pairs(&mut words, 0)?;
        words.is_empty().then_some(read)
    }

    /// Whether it holds.
    pub(super) fn holds(&self, facts: Facts<'_>) -> bool {
        self.value(facts) == Some(Self::Truth(true))
    }

    fn value(&self, facts: Facts<'_>) -> Option<Self> {
        Some(match self {
            Self::Text(_) | Self::Number(_) | Self::Truth(_) | Self::List(_) => self.clone(),
            Self::Not(inner) => match inner.value(facts)? {
                Self::Truth(truth) => Self::Truth(!truth),
                _ => return None,
            },
            Self::Call(function, arguments) => function.value(arguments, facts)?,
            Self::Pair(left, operator, right) => {
                let left = left.value(facts)?;
                // What decides spares the rest.
                match (operator, &left) {
                    (Operator::And, Self::Truth(false)) | (Operator::Or, Self::Truth(true)) => return Some(left),
                    _ => {}
                }
                applied(&left, *operator, &right.value(facts)?)?
            }
        })
    }
}

fn applied(left: &Expression, operator: Operator, right: &Expression) -> Option<Expression> {
    use Expression::{List, Number, Truth};
    Some(match (operator, left, right) {
        (Operator::And | Operator::Or, Truth(_), Truth(right)) => Truth(*right),
        (Operator::Equal, ..) => Truth(left == right),
        (Operator::Differs, ..) => Truth(left != right),
        (Operator::In, _, List(all)) => Truth(all.contains(left)),
        (Operator::Remainder, Number(left), Number(right)) => Number(left.checked_rem(*right)?),
        (Operator::Less, Number(left), Number(right)) => Truth(left < right),
        (Operator::AtMost, Number(left), Number(right)) => Truth(left <= right),
        (Operator::More, Number(left), Number(right)) => Truth(left > right),
        (Operator::AtLeast, Number(left), Number(right)) => Truth(left >= right),
        _ => return None,
    })
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client_ip" => Self::ClientIp,
            "incidr" => Self::InCidr,
            "name" => Self::Name,
            "type" => Self::Type,
            "proto" => Self::Proto,
            "port" => Self::Port,
            "now" => Self::Nanosecond,
            _ => return None,
        })
    }

    fn value(self, arguments: &[Expression], facts: Facts<'_>) -> Option<Expression> {
        let text = |text: &str| Expression::Text(text.to_owned());
        Some(match self {
            Self::ClientIp => Expression::Text(facts.query.client.to_string()),
            Self::Name => Expression::Text(format!("{}.", facts.query.name)),
            Self::Type => Expression::Text(facts.query.kind.to_string()),
            Self::Proto => text(if facts.query.tcp { "tcp" } else { "udp" }),
            Self::Port => Expression::Text(facts.port.to_string()),
            Self::Nanosecond => Expression::Number(facts.nanosecond.into()),
            Self::InCidr => {
                let [address, network] = arguments else { return None };
                let (Expression::Text(address), Expression::Text(network)) =
                    (address.value(facts)?, network.value(facts)?)
                else {
                    return None;
                };
                Expression::Truth(within(address.parse().ok()?, &network)?)
            }
        })
    }
}

/// Whether an address lies in a network, or is it.
pub(super) fn within(address: IpAddr, network: &str) -> Option<bool> {
    let (base, length) = network.split_once('/').unwrap_or((network, ""));
    let base: IpAddr = base.parse().ok()?;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((base_bits, most), (bits, _)) = (bits(base), bits(address));
    let length: u32 = if length.is_empty() { most } else { length.parse().ok().filter(|length| *length <= most)? };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Some(base.is_ipv4() == address.is_ipv4() && base_bits & mask == bits & mask)
}

/// Splits an expression into words; texts keep their first quote.
fn words(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let mut word = String::from(first);
        match first {
            c if c.is_whitespace() => continue,
            quote @ ('\'' | '"') => loop {
                match chars.next()? {
                    c if c == quote => break,
                    c => word.push(c),
                }
            },
            c if c.is_alphanumeric() || c == '_' => {
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
            }
            '&' | '|' => word.extend(chars.next_if_eq(&first)),
            '=' | '!' | '<' | '>' => word.extend(chars.next_if_eq(&'=')),
            _ => {}
        }
        found.push(word);
    }
    Some(found)
}

/// Reads what stands before the next operator that binds no tighter than `rank`. The words are there in reverse.
fn pairs(words: &mut Vec<String>, rank: u8) -> Option<Expression> {
    let mut left = single(words)?;
    while let Some(word) = words.last()
        && let Some((_, operator)) = Operator::ALL.iter().find(|(name, _)| name == word)
        && operator.rank() > rank
    {
        words.pop();
        let right = pairs(words, operator.rank())?;
        left = Expression::Pair(Box::new(left), *operator, Box::new(right));
    }
    Some(left)
}

fn single(words: &mut Vec<String>) -> Option<Expression> {
    let word = words.pop()?;
    let mut list = |end: &str| {
        let mut all = Vec::new();
        while words.last()? != end {
            all.push(pairs(words, 0)?);
            if words.last()? == "," {
                words.pop();
            }
        }
        words.pop();
        Some(all)
    };
    match word.as_str() {
        "!" | "not" => return Some(Expression::Not(Box::new(single(words)?))),
        "(" => {
            let mut inner = list(")")?;
            return inner.pop().filter(|_| inner.is_empty());
        }
        "[" => return list("]").map(Expression::List),
        "true" => return Some(Expression::Truth(true)),
        "false" => return Some(Expression::Truth(false)),
        _ => {}
    }
    if let Some(text) = word.strip_prefix(['\'', '"']) {
        return Some(Expression::Text(text.to_owned()));
    }
    if let Ok(number) = word.parse() {
        return Some(Expression::Number(number));
    }
    let function = Function::named(&word)?;
    if words.pop()? != "(" {
        return None;
    }
    let mut arguments = Vec::new();
    while words.last()? != ")" {
        arguments.push(pairs(words, 0)?);
        if words.last()? == "," {
            words.pop();
        }
    }
    words.pop();
    if function == Function::Nanosecond {
        let method: Vec<String> = (0..4).filter_map(|_| words.pop()).collect();
        if method != [".", "Nanosecond", "(", ")"] {
            return None;
        }
    }
    Some(Expression::Call(function, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordType;

    fn holds(text: &str) -> Option<bool> {
        let query = Query { name: "web.shop", kind: RecordType::A, client: "10.1.2.3".parse().unwrap(), tcp: false };
        Some(Expression::read(text)?.holds(Facts { query, port: 53, nanosecond: 123_456_789 }))
    }

    #[test]
    fn what_the_fault_writes_is_understood() {
        assert_eq!(holds("client_ip() != '127.0.0.1'"), Some(true));
        assert_eq!(holds("now().Nanosecond() % 100000 < 56790"), Some(true));
        assert_eq!(holds("now().Nanosecond() % 100000 < 56789"), Some(false));
    }

    #[test]
    fn expressions_of_others_are_understood_as_far_as_they_go() {
        for (text, expected) in [
            ("incidr(client_ip(), '10.1.0.0/16')", true),
            ("incidr(client_ip(), '10.2.0.0/16') || type() == 'A'", true),
            ("type() in ['AAAA', 'PTR']", false),
            ("not (type() == 'A' and name() == 'web.shop.')", false),
            ("proto() == 'udp' && port() == '53'", true),
            ("1 < 2 == true", true),
        ] {
            assert_eq!(holds(text), Some(expected), "{text}");
        }
        for unknown in ["metadata('a') == 'b'", "name() matches '^a'", "(", "1 +", "now().Second() == 1"] {
            assert_eq!(holds(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn networks_of_both_kinds() {
        let within = |address: &str, network| within(address.parse().unwrap(), network);
        assert_eq!(within("10.1.2.3", "10.1.2.3"), Some(true));
        assert_eq!(within("10.1.2.3", "0.0.0.0/0"), Some(true));
        assert_eq!(within("10.1.2.3", "::/0"), Some(false));
        assert_eq!((within("fd00::1", "fd00::/8"), within("fd00::1", "fc00::/129")), (Some(true), None));
    }
}
