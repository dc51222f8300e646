use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Option<Statement>, SyntaxError> {
    statement(text, 0..text.len())
}

fn printed(text: &str) -> String {
    parse(text).expect("a statement").expect("not empty").to_string()
}

#[test]
fn blanks_commas_comments_and_continued_lines_separate_alike() {
    let canonical = "COPY FULL INDYNAM(A) OUTDYNAM(B,3390)";

    for text in [
        canonical,
        " COPY FULL INDYNAM (A) OUTDYNAM ( B , 3390 ) ",
        "COPY,FULL,INDYNAM(A),OUTDYNAM(B 3390)",
        "COPY FULL -\n  INDYNAM(A) +\n  OUTDYNAM(B,3390)",
        "COPY FULL /* whole */ INDYNAM(A)OUTDYNAM(B,- \r\n 3390) /* end */",
        "COPY FULL - /* note */\nINDYNAM(A) OUTDYNAM(B,3390)",
    ] {
        assert_eq!(printed(text), canonical, "{text:?}");
    }
}

#[test]
fn names_may_have_a_hyphen_but_one_at_the_end_of_a_line_continues_it() {
    assert_eq!(printed("X my-vol+1 'ends-' a-\nb"), "X 'my-vol+1' 'ends-' a b");
    assert_eq!(printed("X 'it''s'"), "X 'it''s'");
}

#[test]
fn nothing_but_blanks_and_comments_is_no_statement() {
    for text in ["", "   ", "/* a */", " /* a */ /* b */ -"] {
        assert_eq!(parse(text), Ok(None), "{text:?}");
    }
}

#[test]
fn an_error_points_at_the_character_that_is_wrong() {
    for (text, at, says) in [
        ("COPY FULL INDYNAM(A", 19, "`)` is expected"),
        ("COPY FULL )", 10, "a keyword is expected"),
        ("COPY FULL ? X", 10, "`?` is not understood"),
        ("COPY FULL 'abc", 14, "quoted text has no end"),
        ("COPY /* abc", 7, "comment has no end"),
        ("COPY A(B,,C)", 9, "a value is expected"),
        ("COPY A(B),,C", 10, "a value is expected"),
        ("X A(A(A(A(A(1)))))", 11, "parentheses within each other"),
        ("(A)", 0, "a keyword is expected"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.at.start, at, "{text:?}: {error:?}");
        assert!(error.message.contains(says), "{text:?}: {error:?}");
    }
}

#[test]
fn places_are_those_of_the_whole_text() {
    let text = "/* first */\nCOPY FULL INDYNAM(A)\nCOPY )\n";
    let ranges = statement_ranges(text, 0..text.len());

    assert_eq!(ranges.len(), 3);
    let second = statement(text, ranges[1].clone()).expect("right").expect("not empty");
    assert_eq!(&text[second.operands[1].word.at.clone()], "INDYNAM");
    let error = statement(text, ranges[2].clone()).expect_err("wrong");
    assert_eq!(&text[error.at], ")");
}

fn word_strategy() -> impl Strategy<Value = Word> {
    let plain = "[A-Za-z0-9.@#$_%*:&]([A-Za-z0-9.+-]{0,6}[A-Za-z0-9])?";
    prop_oneof![3 => plain, 1 => "[ -~]{0,8}"].prop_map(|text| Word { text, at: 0..0 })
}

fn operand_strategy() -> impl Strategy<Value = Operand> {
    let leaf = word_strategy().prop_map(|word| Operand { word, values: None });
    leaf.prop_recursive(3, 16, 4, |inner| {
        let item = prop_oneof![
            3 => inner.clone().prop_map(Item::Operand),
            1 => proptest::collection::vec(inner.prop_map(Item::Operand), 0..3).prop_map(Item::List),
        ];
        (word_strategy(), proptest::collection::vec(item, 0..4))
            .prop_map(|(word, items)| Operand { word, values: Some(items) })
    })
}

/// Lists within each other.
fn depth(items: &[Item]) -> usize {
    let within = |item: &Item| match item {
        Item::Operand(operand) => operand.values.as_deref().map_or(0, depth),
        Item::List(items) => depth(items),
    };
    1 + items.iter().map(within).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}|[A-Z ()',+/*\n-]{0,80}") {
        for range in statement_ranges(&text, 0..text.len()) {
            let _ = statement(&text, range);
        }
    }

    #[test]
    fn what_is_printed_of_a_statement_parses_back(
        verb in word_strategy(),
        operands in proptest::collection::vec(operand_strategy(), 0..5),
    ) {
        let fits = |operand: &Operand| {
            operand.values.as_deref().map_or(0, depth) <= DEPTH_MAX
        };
        prop_assume!(operands.iter().all(fits));
        let statement = Statement { verb, operands };

        let printed = statement.to_string();

        prop_assert_eq!(parse(&printed), Ok(Some(statement)), "{}", printed);
    }
}
