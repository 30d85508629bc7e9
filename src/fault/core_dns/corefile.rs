//! A Corefile, as far as a fault must understand it: which server blocks serve what, how often it is read again, and where our own
//! block goes in and comes out. It is read as CoreDNS reads it (caddy's `caddyfile`), and changed only by inserting one piece at its
//! start and by removing that piece, so that what else stands in it keeps every byte.

/// The first words of the lines around our block.
const BEGIN: &str = "# squall.dev/undo begin:";
const END: &str = "# squall.dev/undo end:";

/// A word, and the line on which it begins.
struct Token {
    text: String,
    line: usize,
}

/// Splits a text into words: at white space, from `"` to `"`, without what stands behind `#`.
fn tokens(text: &str) -> Vec<Token> {
    let (mut found, mut line) = (Vec::new(), 1);
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    while let Some(first) = chars.next() {
        let start = line;
        match first {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                let mut word = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' if chars.peek() == Some(&'"') => word.extend(chars.next()),
                        c => word.push(c),
                    }
                    line += usize::from(c == '\n');
                }
                found.push(Token { text: word, line: start });
            }
            first => {
                let mut word = String::from(first);
                // A comment begins within a word too, and ends it.
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '#') {
                    word.push(c);
                }
                found.push(Token { text: word, line: start });
            }
        }
    }
    found
}

/// A server block, or a snippet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    keys: Vec<String>,
    /// The words of the lines in it, but for those in braces of their own.
    directives: Vec<Vec<String>>,
}

/// What is known of a Corefile.
#[derive(Debug, Default)]
pub(super) struct Corefile {
    blocks: Vec<Block>,
}

/// A zone on a port of plain DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// In lower case, without the dot at its end; empty for all.
    pub(super) zone: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zone = if self.zone.is_empty() { "." } else { &self.zone };
        write!(f, "{zone}:{}", self.port)
    }
}

impl Place {
    /// The place that a key of a server block names; `None` for other protocols, snippets, and networks.
    fn of(key: &str) -> Option<Self> {
        let plain = key.strip_prefix("dns://").unwrap_or(key).trim_end_matches(',');
        if plain.contains(['/', '(', '[']) {
            return None;
        }
        let (zone, port) = match plain.rsplit_once(':') {
            Some((zone, port)) => (zone, port.parse().ok()?),
            None => (plain, 53),
        };
        Some(Self { zone: zone.trim_end_matches('.').to_ascii_lowercase(), port })
    }
}

/// Whether a name is a domain or lies below it; both without the dot at their end.
pub(super) fn is_under(name: &str, domain: &str) -> bool {
    domain.is_empty() || name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

impl Corefile {
    pub(super) fn read(text: &str) -> Self {
        let mut blocks = Vec::new();
        let mut tokens = tokens(text).into_iter().peekable();
        while let Some(first) = tokens.next() {
            let mut block = Block::default();
            let mut line = first.line;
            block.keys.push(first.text);
            // Keys stand on one line, or on more where a comma says that another follows.
            while let Some(next) = tokens.next_if(|t| {
                t.text != "{" && (t.line == line || block.keys.last().is_some_and(|key| key.ends_with(',')))
            }) {
                line = next.line;
                block.keys.push(next.text);
            }
            if block.keys[0] == "import" {
                blocks.push(block);
                continue;
            }
            // A file of one block may do without its braces.
            let braces = tokens.next_if(|t| t.text == "{").is_some();
            let (mut depth, mut last) = (0_u32, 0);
            for token in tokens.by_ref() {
                match token.text.as_str() {
                    "}" if depth == 0 && braces => break,
                    "}" => depth = depth.saturating_sub(1),
                    "{" => depth += 1,
                    _ if depth > 0 => {}
                    _ if token.line == last => {
                        if let Some(directive) = block.directives.last_mut() {
                            directive.push(token.text);
                        }
                    }
                    _ => {
                        last = token.line;
                        block.directives.push(vec![token.text]);
                    }
                }
            }
            blocks.push(block);
        }
        Self { blocks }
    }

    /// The words behind each directive of this name, anywhere.
    fn all(&self, name: &str) -> impl Iterator<Item = &[String]> {
        let directives = self.blocks.iter().flat_map(|block| &block.directives);
        directives.filter_map(move |d| d.split_first()).filter(move |(first, _)| *first == name).map(|(_, rest)| rest)
    }

    /// How long the plugin `reload` lets pass at most between two looks; `None` without it.
    pub(super) fn reload(&self) -> Option<std::time::Duration> {
        let words = self.all("reload").next()?;
        let seconds = |index: usize, default: f64| words.get(index).and_then(|w| go_duration(w)).unwrap_or(default);
        let interval = seconds(0, 30.0);
        // The jitter is cut to half the interval, and lies around it by one half of itself each way.
        let jitter = seconds(1, 15.0).min(interval / 2.0);
        std::time::Duration::try_from_secs_f64(interval + jitter / 2.0).ok()
    }

    /// The cluster's domain, as the plugin `kubernetes` has it.
    pub(super) fn domain(&self) -> String {
        let zone = self.all("kubernetes").find_map(|zones| zones.first().filter(|zone| *zone != "{"));
        zone.map_or("cluster.local", |zone| zone.trim_end_matches('.')).to_owned()
    }

    /// Files that other server blocks may stand in.
    pub(super) fn imports(&self) -> Vec<String> {
        let top = self.blocks.iter().filter(|b| b.keys.first().is_some_and(|key| key == "import"));
        top.filter_map(|block| block.keys.get(1).cloned()).collect()
    }

    /// Where a server block has to stand to be asked first for everything under these names, or for everything where there are none.
    /// CoreDNS asks the block of the longest zone that fits: so the names themselves, and every longer zone that has a block.
    pub(super) fn places(&self, names: &[String]) -> Result<Vec<Place>, String> {
        let mut served = Vec::new();
        for block in &self.blocks {
            if let Some(key) = block.keys.iter().find(|key| key.contains("{$") || key.contains("{%")) {
                return Err(format!(
                    "the server block `{key}` takes its zone from the environment, which is not known here"
                ));
            }
            let own: Vec<Place> = block.keys.iter().filter_map(|key| Place::of(key)).collect();
            if block.directives.iter().any(|d| d.first().is_some_and(|first| first == "bind")) && !own.is_empty() {
                return Err(format!("the server block `{}` listens on addresses of its own (`bind`)", own[0]));
            }
            served.extend(own.into_iter().filter(|_| block.keys.first().is_none_or(|key| key != "import")));
        }
        let everything = [String::new()];
        let mut places = Vec::new();
        for name in if names.is_empty() { &everything } else { names } {
            let serving = served.iter().filter(|place| is_under(name, &place.zone));
            let own: Vec<Place> = serving.map(|place| Place { zone: name.clone(), port: place.port }).collect();
            let longer = served.iter().filter(|place| is_under(&place.zone, name)).cloned();
            let before = places.len();
            places.extend(own.into_iter().chain(longer));
            if places.len() == before {
                return Err(format!("no server block serves `{name}`"));
            }
        }
        places.sort();
        places.dedup();
        Ok(places)
    }

    /// What `prometheus` says where it stands first: our block counts its answers as the others do.
    pub(super) fn metrics(&self) -> Option<String> {
        self.all("prometheus").next().map(|words| {
            std::iter::once("prometheus").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
        })
    }
}

/// Go's way to write a time span, in seconds.
fn go_duration(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let after = &rest[number..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let factor = match &after[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        seconds += rest[..number].parse::<f64>().ok()? * factor;
        rest = &after[unit..];
    }
    Some(seconds)
}

/// Server blocks with the lines around them that say whose they are.
pub(super) fn marked(run: &str, step: &str, blocks: &str) -> String {
    format!("{BEGIN} run {run}, step {step}; it goes away with the fault\n{blocks}{END} run {run}, step {step}\n")
}

/// The text with our piece before everything else: the first block of two that serve the same zone is asked first.
pub(super) fn inserted(text: &str, piece: &str) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => format!("\u{feff}{piece}{rest}"),
        None => format!("{piece}{text}"),
    }
}

/// What taking our piece out of a text comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// The text without it.
    Rest(String),
    /// It was not there.
    Absent,
    /// Parts of it are there: from this line on.
    Torn(usize),
}

/// Takes our piece out, wherever it stands by now, and nothing else.
pub(super) fn removed(text: &str, piece: &str) -> Removed {
    let rest = text.replace(piece, "");
    let lines = [piece.lines().next(), piece.lines().last()];
    match rest.lines().position(|line| lines.contains(&Some(line.trim()))) {
        Some(torn) => Removed::Torn(torn + 1),
        None if rest.len() == text.len() => Removed::Absent,
        None => Removed::Rest(rest),
    }
}

#[cfg(test)]
mod tests;
