use super::{Fingerprint, KeyDirective, KeyError, KeyList, KeySpec, Secret, SecretSource};

const KEY: &str = "sk-proj-Abc_123";

fn directive(parameters: &[&str]) -> KeyDirective {
    KeyDirective::parse(parameters).expect("a valid directive")
}

/// The keys of a pool, from the parameters of its directives and the contents of their sources.
fn pool(sources: &[(&[&str], &str)]) -> Result<Vec<KeySpec>, KeyError> {
    let mut list = KeyList::default();
    for (parameters, text) in sources {
        list.add(&directive(parameters), text)?;
    }
    Ok(list.into_keys())
}

/// Secret, id, slots and weight of each key, for comparison.
fn summary(keys: &[KeySpec]) -> Vec<(&str, &str, u16, u16)> {
    keys.iter()
        .map(|key| (key.secret.expose(), &*key.id, key.slots, key.weight))
        .collect()
}

fn mistake(parameters: &[&str], text: &str) -> String {
    pool(&[(parameters, text)])
        .expect_err("a mistake")
        .to_string()
}

#[test]
fn a_secret_does_not_show_itself() {
    let secret = Secret::new(KEY);
    assert_eq!(secret.expose(), KEY);
    let keys = pool(&[(&[KEY], KEY)]).expect("a pool");
    for shown in [
        format!("{secret:?}"),
        format!("{keys:?}"),
        format!("{:?}", directive(&[KEY])),
        SecretSource::parse(KEY).expect("a source").to_string(),
    ] {
        assert!(!shown.contains("Abc"), "{shown}");
    }
}

#[test]
fn a_fingerprint_is_half_a_sha256() {
    let fingerprint = Fingerprint::of(b"abc");
    assert_eq!(fingerprint.to_string(), "ba7816bf8f01cfea414140de5dae2223");
    assert_eq!(format!("{fingerprint:.8}"), "ba7816bf");
    assert_eq!(format!("{fingerprint:.3}"), "ba7");
    assert_eq!(fingerprint.as_bytes()[..2], [0xba, 0x78]);
    assert_eq!(Fingerprint::from(*fingerprint.as_bytes()), fingerprint);
}

#[test]
fn sources_are_variables_files_or_keys() {
    let shown = |text| SecretSource::parse(text).map(|source| source.to_string());
    assert_eq!(
        shown("env:OPENAI_API_KEYS"),
        Ok("env:OPENAI_API_KEYS".to_owned())
    );
    assert_eq!(
        shown("file:/etc/nginx/openai.keys"),
        Ok("file:/etc/nginx/openai.keys".to_owned())
    );
    let literal = SecretSource::parse(KEY);
    assert!(matches!(literal, Ok(SecretSource::Literal(key)) if key.expose() == KEY));
    for text in ["env:", "env:sk-abc", "env:1A", "env:A B"] {
        assert_eq!(shown(text), Err(KeyError::EnvName), "{text}");
    }
    assert_eq!(shown("file:"), Err(KeyError::FilePath));
    for text in ["", "sk a", "sk-a,sk-b", "sk-é", "sk-a\r\nX-Evil: 1"] {
        assert!(matches!(shown(text), Err(KeyError::Invalid(_))), "{text}");
    }
}

#[test]
fn a_directive_has_options_in_any_order() {
    let full = directive(&[
        "env:KEYS",
        "weight=3",
        "optional",
        "slots=65535",
        "id=a.b_c-D9",
    ]);
    assert!(full.optional);
    assert_eq!(full.options.id.as_deref(), Some("a.b_c-D9"));
    assert_eq!(full.options.slots.map(u16::from), Some(65535));
    assert_eq!(full.options.weight.map(u16::from), Some(3));
    assert!(!directive(&["env:KEYS"]).optional);
}

#[test]
fn a_wrong_option_is_named() {
    for (parameters, message) in [
        (
            &["env:K", "slots=0"][..],
            r#"invalid slots "0": a number from 1 to 65535 expected"#,
        ),
        (
            &["env:K", "slots=65536"],
            r#"invalid slots "65536": a number from 1 to 65535 expected"#,
        ),
        (
            &["env:K", "weight=+1"],
            r#"invalid weight "+1": a number from 1 to 65535 expected"#,
        ),
        (
            &["env:K", "weight="],
            r#"invalid weight "": a number from 1 to 65535 expected"#,
        ),
        (
            &["env:K", "slot=1"],
            r#"unknown option "slot", it must be one of id=, slots=, weight=, optional"#,
        ),
        (
            &["env:K", "id=a", "id=b"],
            r#"option "id" is repeated, remove one of them"#,
        ),
        (
            &["env:K", "slots=1", "slots=1"],
            r#"option "slots" is repeated, remove one of them"#,
        ),
        (
            &["env:K", "optional", "optional"],
            r#"option "optional" is repeated, remove one of them"#,
        ),
        (
            &["env:K", "slots=1", "often"],
            "parameter 3 is not an option, it must be one of id=, slots=, weight=, optional",
        ),
    ] {
        let error = KeyDirective::parse(parameters).expect_err("a mistake");
        assert_eq!(error.to_string(), message);
    }
    let long = format!("id={}", "x".repeat(65));
    for id in ["id=", "id=a b", "id=a/b", "id=é", &long] {
        let error = KeyDirective::parse(&["env:K", id]).expect_err("a mistake");
        assert!(error.to_string().starts_with("invalid id"), "{error}");
    }
    assert!(KeyDirective::parse(&["env:K", &long[..67]]).is_ok());
}

#[test]
fn a_directive_begins_with_its_source() {
    for parameters in [&[][..], &["id=a"], &["slots=2", "env:K"], &["optional"]] {
        assert_eq!(
            KeyDirective::parse(parameters).err(),
            Some(KeyError::NoSource)
        );
    }
}

#[test]
fn no_mistake_shows_a_key() {
    for parameters in [
        &["env:KEYS", KEY][..],
        &["env:KEYS", "sk-proj-Abc_123="],
        &["env:sk-proj-Abc_123"],
        &["sk-proj-Abc_123,b"],
    ] {
        let error = KeyDirective::parse(parameters).expect_err("a mistake");
        assert!(!format!("{error} {error:?}").contains("Abc"), "{error}");
    }
    for (source, text) in [
        ("env:KEYS", "sk-a,sk-proj-Abc_123 x"),
        ("env:KEYS", "sk-proj-Abc_123,sk-proj-Abc_123"),
        ("file:keys", "sk-a sk-proj-Abc_123"),
        ("file:keys", "sk-a sk-proj-Abc_123=1"),
        ("file:keys", "sk-proj-Abc_123\u{7f}"),
        ("file:keys", "sk-proj-Abc_123 slots=0"),
    ] {
        let error = pool(&[(&[source], text)]).expect_err("a mistake");
        assert!(!format!("{error} {error:?}").contains("Abc"), "{error}");
    }
}

#[test]
fn a_variable_holds_keys_between_commas() {
    let keys = pool(&[(&["env:KEYS", "id=x", "slots=2"], " sk-a ,, sk-b,\tsk-c,\n")]);
    let keys = keys.expect("a pool");
    let wanted = [
        ("sk-a", "x-1", 2, 1),
        ("sk-b", "x-2", 2, 1),
        ("sk-c", "x-3", 2, 1),
    ];
    assert_eq!(summary(&keys), wanted);
}

#[test]
fn a_file_holds_a_key_a_line() {
    let text = "\u{feff}# ours\r\n\r\nsk-a\r\n  sk-b id=b slots=4 # theirs\n#sk-no\nsk-c\tweight=9";
    let keys = pool(&[(&["file:keys", "id=x", "slots=2", "weight=3"], text)]).expect("a pool");
    let wanted = [
        ("sk-a", "x-1", 2, 3),
        ("sk-b", "b", 4, 3),
        ("sk-c", "x-3", 2, 9),
    ];
    assert_eq!(summary(&keys), wanted);
}

#[test]
fn a_mistake_in_a_source_is_placed() {
    assert_eq!(
        mistake(&["file:keys"], "sk-a\n\nsk-b slots=x"),
        r#"file:keys, line 3: invalid slots "x": a number from 1 to 65535 expected"#
    );
    assert_eq!(
        mistake(&["file:keys"], "sk-a optional"),
        "file:keys, line 1: parameter 2 is not an option, it must be one of id=, slots=, weight="
    );
    for (source, text, place) in [
        ("file:keys", "sk-a\nslots=2", "file:keys, line 2"),
        ("file:keys", "sk-a,sk-b", "file:keys, line 1"),
        ("env:KEYS", "sk-a,,sk b", "env:KEYS, item 3"),
        ("env:KEYS", "sk-a\r\nX-Evil: 1", "env:KEYS, item 1"),
        ("env:KEYS", "sk-a\0", "env:KEYS, item 1"),
    ] {
        let wanted = format!(
            "{place} is not a key: a key is visible ASCII without spaces and commas; write a line for each key"
        );
        assert_eq!(mistake(&[source], text), wanted);
    }
}

#[test]
fn an_empty_source_must_be_optional() {
    for (source, text) in [
        ("env:KEYS", ""),
        ("env:KEYS", " , "),
        ("file:keys", "# none\n\n"),
    ] {
        assert_eq!(
            mistake(&[source], text),
            format!("\"{source}\" contains no key; write one into it, or add \"optional\"")
        );
        let keys = pool(&[(&[source, "optional"], text)]);
        assert!(keys.expect("a pool").is_empty());
    }
}

#[test]
fn a_key_without_an_id_is_named_after_its_hash() {
    let keys = pool(&[(&["abc"], "abc"), (&["def", "id=mine"], "def")]).expect("a pool");
    assert_eq!(keys[0].id, "k-ba7816bf");
    assert_eq!(keys[0].fingerprint, Fingerprint::of(b"abc"));
    assert_eq!(keys[1].id, "mine");
    assert_eq!((keys[0].slots, keys[0].weight), (1, 1));
}

#[test]
fn names_after_hashes_do_not_collide() {
    // Two keys whose SHA-256 begins with the same 32 bits.
    let keys = pool(&[(&["env:KEYS"], "sk-3334,sk-121845")]).expect("a pool");
    assert_eq!(keys[0].id, "k-a4dba211");
    assert_eq!(keys[1].id, "k-a4dba211e05eca3a");
}

#[test]
fn a_pool_has_no_key_twice() {
    let twice = pool(&[
        (&["env:A", "id=a"], "sk-a"),
        (&["env:B", "id=b"], "sk-b,sk-a"),
    ]);
    let wanted = KeyError::SameKey {
        place: "env:B, item 2".to_owned(),
        first: "a".to_owned(),
        second: "b-2".to_owned(),
        other: "env:A, item 1".to_owned(),
    };
    assert_eq!(twice.err(), Some(wanted));
    assert_eq!(
        mistake(&["env:A"], "abc,abc"),
        "env:A, item 2: keys \"k-ba7816bf\" and \"k-ba7816bf\" are the same key, see env:A, \
         item 1; remove one of them"
    );
}

#[test]
fn a_pool_has_no_id_twice() {
    let twice = pool(&[(&["env:A", "id=a"], "sk-a"), (&["env:B", "id=a"], "sk-b")]);
    let wanted = KeyError::SameId {
        place: "env:B, item 1".to_owned(),
        id: "a".to_owned(),
        other: "env:A, item 1".to_owned(),
    };
    assert_eq!(twice.err(), Some(wanted));
    assert_eq!(
        mistake(&["file:f"], "sk-a id=x\nsk-b id=x"),
        r#"file:f, line 2: two keys have the id "x", see file:f, line 1; choose another id"#
    );
}

#[test]
fn a_numbered_id_is_still_an_id() {
    let id = format!("id={}", "x".repeat(63));
    assert!(pool(&[(&["env:A", &id], "sk-a")]).is_ok());
    assert!(mistake(&["env:A", &id], "sk-a,sk-b").starts_with("invalid id"));
}

#[test]
fn a_line_is_told_by_what_is_said_and_not_by_the_key() {
    let line = |parameters: &[&str], text: &str| {
        let directive = KeyDirective::parse(parameters).unwrap();
        let mut list = KeyList::default();
        list.add(&directive, text).unwrap();
        list.keys()[0].line
    };
    let plain = line(&["env:KEYS", "id=a"], "sk-1");
    assert_eq!(plain, line(&["env:KEYS", "id=a"], "sk-2"));
    for other in [
        line(&["env:OTHER", "id=a"], "sk-1"),
        line(&["env:KEYS", "id=b"], "sk-1"),
        line(&["env:KEYS", "id=a", "weight=1"], "sk-1"),
        line(&["env:KEYS", "id=a", "optional"], "sk-1"),
    ] {
        assert_ne!(plain, other);
    }
    let file = |text: &str| line(&["file:keys"], text);
    assert_eq!(file("sk-1 id=a"), file("sk-2  id=a  # fine"));
    assert_ne!(file("sk-1 id=a"), file("sk-1 id=a slots=1"));
}
