use proptest::prelude::*;

use super::*;

/// As kubeadm writes it, with a stub domain.
const STOCK: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload # every half minute
    loadbalance
}
corp.example:53 {
    forward . 10.0.0.53
}
";

fn places(text: &str, names: &[&str]) -> Result<String, String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let places = Corefile::read(text).places(&names)?;
    Ok(places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

#[test]
fn reads_what_kubeadm_writes() {
    let corefile = Corefile::read(STOCK);
    assert_eq!(corefile.blocks.len(), 2);
    assert_eq!(corefile.blocks[0].directives.len(), 10);
    assert_eq!(corefile.reload(), Some(std::time::Duration::from_millis(37_500)));
    assert_eq!((corefile.domain(), corefile.metrics()), ("cluster.local".into(), Some("prometheus :9153".into())));
}

#[test]
fn stands_first_wherever_another_block_would_answer() {
    assert_eq!(places(STOCK, &[]).unwrap(), ".:53 corp.example:53");
    assert_eq!(places(STOCK, &["web.shop.svc.cluster.local"]).unwrap(), "web.shop.svc.cluster.local:53");
    assert_eq!(
        places(STOCK, &["example", "db.corp.example"]).unwrap(),
        "corp.example:53 db.corp.example:53 example:53"
    );
    assert_eq!(places("a.b:1053, c.d\n{\n whoami\n}\n", &["x.a.b"]).unwrap(), "x.a.b:1053");
    assert_eq!(places("a.b:1053, c.d\n{\n whoami\n}\n", &[]).unwrap(), "a.b:1053 c.d:53");
    assert_eq!(places(".:5353\nforward . 1.1.1.1\n", &[]).unwrap(), ".:5353", "without braces");
    assert!(places("a.b {\n whoami\n}\n", &["c.d"]).unwrap_err().contains("no server block serves `c.d`"));
}

#[test]
fn refuses_what_it_can_not_know() {
    assert!(places("{$ZONE}:53 {\n whoami\n}\n", &[]).unwrap_err().contains("environment"));
    assert!(places(".:53 {\n bind 10.0.0.1\n}\n", &[]).unwrap_err().contains("`bind`"));
    assert_eq!(places("tls://.:853 {\n bind 10.0.0.1\n}\n.:53 {\n}\n", &[]).unwrap(), ".:53");
}

#[test]
fn reads_words_as_caddy_does() {
    let corefile = Corefile::read(
        "(common) {\n reload \"1m\" 10s\n}\nimport custom/*.server\n.:53 {\n # reload 2s\n import common\n log a \"b { c\" {\n  reload 9s\n }\n}\n",
    );
    assert_eq!(corefile.reload(), Some(std::time::Duration::from_secs(65)));
    assert_eq!(corefile.imports(), ["custom/*.server"]);
    assert_eq!(corefile.blocks.last().unwrap().directives[1], ["log", "a", "b { c"]);
    assert_eq!(Corefile::read(".:53 {\n errors\n}\n").reload(), None);
    assert_eq!(Corefile::read(".:53 {\n reload 2s\n}\n").reload(), Some(std::time::Duration::from_millis(2_500)));
    assert_eq!(Corefile::read("").blocks, []);
}

fn piece() -> String {
    marked("r1", "s", "a:53 {\n    view squall\n}\n")
}

#[test]
fn a_piece_that_is_torn_is_found_and_left() {
    let text = inserted(STOCK, &piece()).replace("    view squall\n", "");
    assert_eq!(removed(&text, &piece()), Removed::Torn(1));
    assert_eq!(removed(STOCK, &piece()), Removed::Absent);
    assert_eq!(removed(&inserted(STOCK, &marked("r2", "s", "")), &piece()), Removed::Absent, "another run's");
}

proptest! {
    #[test]
    fn what_was_inserted_is_removed_to_the_byte(text in "\u{feff}?(\\PC|\n|\r| |[{}#\"])*") {
        prop_assert_eq!(removed(&inserted(&text, &piece()), &piece()), Removed::Rest(text));
    }

    #[test]
    fn what_others_wrote_around_it_stays(before in "[a-z{} \n]*", after in "[a-z{} \n]*") {
        let before = if before.is_empty() { before } else { before + "\n" };
        let edited = format!("{before}{}{after}", piece());
        prop_assert_eq!(removed(&edited, &piece()), Removed::Rest(format!("{before}{after}")));
    }

    #[test]
    fn any_text_can_be_read(text in "(\\PC|\n|[{}#\",:.])*") {
        let _read = Corefile::read(&text).places(&[]);
    }
}
