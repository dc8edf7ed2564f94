//! The codes of diagnostics: short words that stay when the sentences beside them are improved, for scripts and for
//! looking up in `docs/POLICY.md`.
//!
//! A warning is given its code where it is made. An error gets the code of the first line of [`WORDING`] whose words are
//! in its message or label: some three hundred sentences are of twenty kinds, and one table shows them side by side.
//! Every golden diagnostic is tested with its code, so that another wording cannot change a code unseen.

use super::diagnostics::Severity;

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As it is printed, and never changed.
    pub word: &'static str,
    /// Whether it is of errors or of warnings.
    pub severity: Severity,
    /// What it stands for, in one sentence.
    pub meaning: &'static str,
}

const fn error(word: &'static str, meaning: &'static str) -> Code {
    Code { word, severity: Severity::Error, meaning }
}

const fn warning(word: &'static str, meaning: &'static str) -> Code {
    Code { word, severity: Severity::Warning, meaning }
}

/// All there are, errors before warnings, each in the order of the alphabet.
pub const ALL: &[Code] = &[
    error("ambiguous-key", "an event has several keys of the kind that is counted by; `via` says which"),
    error("card-number", "what could be a raw card number stands in the policy"),
    error("cyclic", "something is defined by itself in the end"),
    error("given-twice", "what can be said once is said again"),
    error("internal", "the compiler contradicts itself; please report the policy"),
    error("invalid", "what is written means nothing here"),
    error("missing-part", "a declaration lacks something that it needs"),
    error("name-taken", "a name is a word of the language, is declared twice, or hides another one"),
    error("no-key", "an event has no key of the kind that is counted by, or is not judged by it"),
    error("not-judged", "rules and decisions are only possible on events that are judged"),
    error("not-yet", "the word is reserved for a part of the language that is not there yet"),
    error("out-of-range", "a number or a duration lies outside what is possible"),
    error("syntax", "the text does not follow the grammar"),
    error("too-large", "the policy, or a part of it, is larger than the appliance takes"),
    error("type-mismatch", "a value is of another type than is needed, or two do not go together"),
    error("unknown-currency", "money whose currency is only known at run time is computed with or compared"),
    error("unknown-name", "nothing has this name"),
    error("unusable-file", "a file that the policy uses cannot be read, or cannot be used like that"),
    error(
        "wrong-argument",
        "a function, aggregate or clause is given too much, too little, or something else",
    ),
    error("wrong-event", "what is named belongs to another event"),
    error("wrong-place", "what is written is possible, but not here"),
    warning("always-fires", "a condition is true whenever it is known"),
    warning("cannot-fire", "a condition is never true"),
    warning("duplicate-condition", "two rules on one event, or rows of a table, have the same condition"),
    warning(
        "shadowed-by",
        "a branch of `late after`, or a row, is never reached, because those before it always hold too",
    ),
    warning("silently-missing", "a negation is unknown, not true, when something optional is missing"),
    warning(
        "thresholds-out-of-order",
        "a threshold never decides, because a greater action always holds too",
    ),
    warning("uncovered", "a scorecard, or a table that is for most values, leaves some out"),
    warning("unused-entity", "no field and no list is of this entity kind"),
    warning("unused-feature", "no rule and no decision uses this feature"),
    warning("unused-let", "nothing uses this definition"),
    warning("unused-list", "no condition looks into this list"),
    warning("unused-model", "no rule and no decision asks this model"),
    warning("unused-reason", "no rule gives this reason"),
    warning("unused-scorecard", "nothing uses this scorecard"),
];

/// The code of errors that no line of the table fits.
const OTHERWISE: &str = "invalid";

/// Words of a message or label, and the code of errors that have them. The first line that fits holds.
const WORDING: &[(&str, &str)] = &[
    ("cannot be read", "unusable-file"),
    ("uses the one it is used by", "unusable-file"),
    ("a used file", "unusable-file"),
    ("cannot be used: ", "unusable-file"),
    ("inputs, and is given", "wrong-argument"),
    ("is given as input", "wrong-argument"),
    ("a calibration needs", "missing-part"),
    ("points of a calibration", "wrong-argument"),
    ("a calibration has at most", "too-large"),
    ("number is too great", "out-of-range"),
    ("more than nine digits", "out-of-range"),
    ("no model can say this", "out-of-range"),
    ("an input of another", "cyclic"),
    ("this path", "unusable-file"),
    ("not a file", "unusable-file"),
    ("cannot use other files", "unusable-file"),
    ("files are used before", "wrong-place"),
    ("belongs into", "wrong-place"),
    ("was not checked", "internal"),
    ("has no registers", "internal"),
    ("card number", "card-number"),
    ("not there yet", "not-yet"),
    ("only known at run time", "unknown-currency"),
    ("cyclic", "cyclic"),
    ("is not a merchant category", "type-mismatch"),
    ("are not leading digits", "type-mismatch"),
    ("bits behind its prefix", "type-mismatch"),
    ("is not a whole number", "type-mismatch"),
    ("there are no lists of", "type-mismatch"),
    ("hexadecimal digits", "type-mismatch"),
    ("may change is looked up", "wrong-place"),
    ("says how long it may be", "missing-part"),
    ("a text or address of the amend", "wrong-event"),
    ("a prefix is many addresses", "type-mismatch"),
    ("an address has", "out-of-range"),
    ("is neither an address", "type-mismatch"),
    ("uses itself", "cyclic"),
    ("cannot amend itself", "cyclic"),
    ("over itself", "cyclic"),
    ("cannot be the name of", "name-taken"),
    ("cannot be used as a name", "name-taken"),
    ("declared twice", "name-taken"),
    ("declared again", "name-taken"),
    ("already the name of", "name-taken"),
    ("is already a type", "name-taken"),
    ("has the same name", "name-taken"),
    ("has the name of", "name-taken"),
    ("shadows", "name-taken"),
    ("both a field and a word", "name-taken"),
    ("already belongs to", "name-taken"),
    ("is there twice", "given-twice"),
    ("again here", "given-twice"),
    ("a second one", "given-twice"),
    ("a second `decide`", "given-twice"),
    ("in the list twice", "given-twice"),
    ("has two windows", "given-twice"),
    ("both told to the customer", "given-twice"),
    ("a third one", "given-twice"),
    ("converted twice", "wrong-place"),
    ("a model has a part in is", "wrong-place"),
    ("by which", "ambiguous-key"),
    ("fields of kind", "ambiguous-key"),
    ("needs two", "no-key"),
    ("cannot be counted by", "no-key"),
    ("be looked up for", "no-key"),
    ("is looked up by what is no key", "no-key"),
    ("never decided", "not-judged"),
    ("amendments are not judged", "not-judged"),
    ("of another event", "wrong-event"),
    ("another event", "wrong-event"),
    ("is an event, not", "wrong-event"),
    ("not carried by the amendment", "wrong-event"),
    ("a key of the amend", "wrong-event"),
    ("amends an amendment", "wrong-event"),
    ("does not say of which event", "wrong-event"),
    ("not an event", "wrong-event"),
    ("there is no date", "out-of-range"),
    ("no event can be of this date", "out-of-range"),
    ("never effective", "out-of-range"),
    ("there is no value", "unknown-name"),
    ("there is no ", "unknown-name"),
    ("is not a unit", "unknown-name"),
    ("is not a currency", "unknown-name"),
    ("stands for nothing alone", "type-mismatch"),
    ("is missing", "missing-part"),
    ("has no `else`", "missing-part"),
    ("has no rules", "missing-part"),
    ("has no rows", "missing-part"),
    ("no line that names columns", "missing-part"),
    ("is headed `then`", "missing-part"),
    ("has no inputs", "missing-part"),
    ("cells for", "wrong-argument"),
    ("compares with a constant", "wrong-argument"),
    ("overlaps", "given-twice"),
    ("never reached", "given-twice"),
    ("no header", "missing-part"),
    ("needs a time zone", "missing-part"),
    ("needs at least", "missing-part"),
    ("has no key", "missing-part"),
    ("has no window", "wrong-place"),
    ("is compared with nothing", "missing-part"),
    ("how fast it decays", "missing-part"),
    ("words of 8 bytes", "too-large"),
    ("keys of what it amends", "too-large"),
    ("divides by zero", "out-of-range"),
    ("convert for more than", "out-of-range"),
    ("too deep", "too-large"),
    ("too large", "too-large"),
    ("bytes long", "too-large"),
    ("more than", "too-large"),
    ("one too many", "too-large"),
    ("at most", "out-of-range"),
    ("does not fit", "out-of-range"),
    ("fits 32 bits", "out-of-range"),
    ("outside", "out-of-range"),
    ("whole number from", "out-of-range"),
    ("not all that it must have", "missing-part"),
    ("expects nothing", "missing-part"),
    ("of which event?", "missing-part"),
    ("several times", "wrong-argument"),
    ("a stub is", "wrong-argument"),
    ("this value", "out-of-range"),
    ("not a percentage", "out-of-range"),
    ("not a category", "out-of-range"),
    ("not 6 to 8 digits", "out-of-range"),
    ("less than its start", "out-of-range"),
    ("digits after the point", "out-of-range"),
    ("is empty", "out-of-range"),
    ("cannot be empty", "out-of-range"),
    ("is zero", "out-of-range"),
    ("between 1us", "out-of-range"),
    ("of its unit", "out-of-range"),
    ("longer than", "out-of-range"),
    ("has 1 to", "out-of-range"),
    ("these do not", "type-mismatch"),
    ("not a condition", "type-mismatch"),
    ("not a number", "type-mismatch"),
    ("not money", "type-mismatch"),
    ("not a text", "type-mismatch"),
    ("neither a key nor money", "type-mismatch"),
    ("of another kind", "type-mismatch"),
    ("of another type", "type-mismatch"),
    ("never equal", "type-mismatch"),
    ("never in it", "type-mismatch"),
    ("this is ", "type-mismatch"),
    ("no value to compute", "type-mismatch"),
    ("a text cannot be used", "type-mismatch"),
    ("have no order", "type-mismatch"),
    ("is a list, not", "type-mismatch"),
    ("not of type", "type-mismatch"),
    ("takes ", "wrong-argument"),
    ("chooses between", "wrong-argument"),
    ("compares an aggregate", "wrong-argument"),
    ("not an aggregate", "wrong-argument"),
    ("not a pair", "wrong-argument"),
    ("not a response code", "out-of-range"),
    ("not possible here", "wrong-place"),
    ("is only possible in", "wrong-place"),
    ("is only known in", "wrong-place"),
    ("belongs to", "wrong-place"),
    ("has no use for", "wrong-place"),
    ("comes first", "wrong-place"),
    ("comes last", "wrong-place"),
    ("comes after `else`", "wrong-place"),
    ("is mandatory", "wrong-place"),
    ("is a time zone", "wrong-place"),
];

/// The code of an error with this message and label.
pub(super) fn of_error(message: &str, label: &str) -> &'static str {
    let fits = |words: &str| message.contains(words) || label.contains(words);
    WORDING.iter().find(|(words, _)| fits(words)).map_or(OTHERWISE, |(_, code)| code)
}

/// The code of an error of the grammar with this message: that of its words if they have one, else `syntax`.
pub(super) fn of_syntax(message: &str, label: &str) -> &'static str {
    match of_error(message, label) {
        code @ ("not-yet" | "unknown-name" | "name-taken" | "too-large")
            if !message.starts_with("expected") =>
        {
            code
        }
        _ => "syntax",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_in_order_and_those_of_the_table_exist() {
        let key = |code: &Code| (code.severity == Severity::Warning, code.word);
        assert!(ALL.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "in order, each once");
        for (words, code) in WORDING {
            let known = ALL.iter().any(|known| known.word == *code && known.severity == Severity::Error);
            assert!(known, "{words}: {code}");
        }
    }

    #[test]
    fn the_first_words_that_fit_hold_and_the_grammar_has_a_code_of_its_own() {
        assert_eq!(of_error("there is no event `x`", "not known"), "unknown-name");
        assert_eq!(of_error("`model` is not there yet", ""), "not-yet");
        assert_eq!(of_error("something else", ""), "invalid");
        assert_eq!(of_syntax("expected `,`", "of another event"), "syntax");
        assert_eq!(of_syntax("`when` cannot be used as a name", ""), "name-taken");
    }
}
