//! Percentile plots as SVG: latency over percentile, both on logarithmic scales, one line per series.
//!
//! The horizontal axis is 1/(1 − q): each factor of ten is one nine more, so that the tail gets as much room as the body.
//! A line ends where its series has too few samples to tell the percentile: beyond that there is only the maximum.

use std::fmt::Write as _;

use crate::figure::span;

/// Decades of the horizontal axis, to 99.999 %.
const NINES: usize = 5;
/// Points per decade.
const STEPS: usize = 20;

/// Points of one series: 1/(1 − q), and the nanoseconds at q.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Samples what tells the value at a quantile, as far as `samples` values can tell it.
    pub(crate) fn sample(samples: u64, at: impl Fn(f64) -> u64) -> Self {
        let xs = (0..=NINES * STEPS).map(|step| 10_f64.powf(step as f64 / STEPS as f64));
        let told = xs.take_while(|&x| x <= samples as f64);
        Self(told.map(|x| (x, at(1.0 - 1.0 / x) as f64)).collect())
    }
}

/// A logarithmic scale from values to places on the page.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Logarithms of the least and the greatest value.
    from: f64,
    to: f64,
    /// Where they are.
    start: f64,
    end: f64,
}

impl Scale {
    /// Values below the least are shown at its place: a logarithm of nothing has none.
    fn place(&self, value: f64) -> f64 {
        let log = value.max(1e-300).log10().clamp(self.from, self.to);
        self.start + (self.end - self.start) * (log - self.from) / (self.to - self.from)
    }
}

const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 840.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 570.0;
/// Hues that stay apart, also in print; then they repeat.
const COLOURS: [&str; 10] = [
    "#1b6ca8", "#d1495b", "#2a9d5c", "#e08e1b", "#7b4ea3", "#2aa7a7", "#8c6239", "#c44fa0", "#6b7280",
    "#96a51c",
];

/// Ends the name of a series that is a part of another one.
const PART: &str = ".service";

/// How a line is drawn, and where its name stands.
struct Style {
    number: usize,
    colour: &'static str,
    dashed: bool,
}

/// Whole decades that hold all values; at least one.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::MAX, 1.0_f64), |(least, most), v| (least.min(v), most.max(v)));
    let from = least.min(most).max(1.0).log10().floor();
    (from, most.log10().ceil().max(from + 1.0))
}

/// The plot. Series without points are left out.
pub(crate) fn draw(title: &str, series: &[(&str, &Curve)]) -> String {
    let series: Vec<_> = series.iter().filter(|(_, curve)| !curve.0.is_empty()).collect();
    // A wait of nothing is shown on the lowest line, and does not stretch the scale.
    let values =
        series.iter().flat_map(|(_, curve)| curve.0.iter().map(|point| point.1)).filter(|ns| *ns >= 1.0);
    let (from, to) = decades(values);
    let x = Scale { from: 0.0, to: NINES as f64, start: LEFT, end: RIGHT };
    let y = Scale { from, to, start: BOTTOM, end: TOP };
    let mut svg = String::new();
    head(&mut svg, title);
    axes(&mut svg, &x, &y);
    let mut whole: Vec<&str> = Vec::new();
    for (number, (name, curve)) in series.iter().enumerate() {
        // A part has the hue of the whole, dashed; so has what comes round to the same hue.
        let of = name.strip_suffix(PART).unwrap_or(name);
        let hue = whole.iter().position(|one| *one == of).unwrap_or_else(|| {
            whole.push(of);
            whole.len() - 1
        });
        let dashed = of != *name || hue >= COLOURS.len();
        let style = Style { number, colour: COLOURS[hue % COLOURS.len()], dashed };
        line(&mut svg, (&x, &y), style, name, curve);
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, title: &str) {
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\" fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
}

fn axes(svg: &mut String, x: &Scale, y: &Scale) {
    for nines in 0..=NINES {
        let at = x.place(10_f64.powi(nines as i32));
        let label = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"][nines];
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n",
            BOTTOM + 20.0
        );
    }
    for decade in y.from as i32..=y.to as i32 {
        let value = 10_f64.powi(decade);
        let at = y.place(value);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            round_span(value)
        );
    }
    let middle = (TOP + BOTTOM) / 2.0;
    let _ = write!(
        svg,
        "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" stroke=\"#222\" fill=\"none\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">percentile</text>\n\
         <text transform=\"translate(22 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">latency</text>\n",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 46.0
    );
}

/// A decade of nanoseconds without a fraction.
fn round_span(ns: f64) -> String {
    span(ns).replace(".00 ", " ").replace(".0 ", " ")
}

fn line(svg: &mut String, (x, y): (&Scale, &Scale), style: Style, name: &str, curve: &Curve) {
    let Style { number, colour, dashed } = style;
    let dashes = if dashed { " stroke-dasharray=\"5 3\"" } else { "" };
    svg.push_str("<path d=\"");
    for (place, (at, ns)) in curve.0.iter().enumerate() {
        let _ = write!(svg, "{}{:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, x.place(*at), y.place(*ns));
    }
    let legend = TOP + 8.0 + 20.0 * number as f64;
    let _ = write!(
        svg,
        "\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"{dashes}/>\n\
         <path d=\"M{:.1} {legend:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        RIGHT + 20.0,
        RIGHT + 50.0,
        legend + 4.0,
        escaped(name)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let x = Scale { from: 0.0, to: 5.0, start: 100.0, end: 600.0 };
        for (quantile, place) in [(0.0, 100.0), (0.9, 200.0), (0.99, 300.0), (0.99999, 600.0)] {
            assert!((x.place(1.0 / (1.0 - quantile)) - place).abs() < 1e-6, "{quantile}");
        }
    }

    #[test]
    fn greater_values_are_higher_and_nothing_leaves_the_frame() {
        let y = Scale { from: 2.0, to: 6.0, start: 570.0, end: 50.0 };
        assert_eq!((y.place(100.0), y.place(1e6)), (570.0, 50.0));
        assert_eq!((y.place(0.0), y.place(1e12)), (570.0, 50.0));
        assert!(y.place(1_000.0) > y.place(2_000.0));
    }

    #[test]
    fn decades_hold_all_values() {
        assert_eq!(decades([150.0, 90_000.0].into_iter()), (2.0, 5.0));
        assert_eq!(decades([100.0].into_iter()), (2.0, 3.0));
        assert_eq!(decades([].into_iter()), (0.0, 1.0));
    }

    #[test]
    fn a_curve_ends_where_its_samples_do() {
        let curve = Curve::sample(1_000, |quantile| (quantile * 1_000.0).round() as u64);
        let &(x, ns) = curve.0.last().unwrap();
        assert!((x - 1_000.0).abs() < 1e-6, "{x}");
        assert_eq!(ns, 999.0);
        assert_eq!(Curve::sample(0, |_| 1), Curve::default());
        assert_eq!(Curve::sample(u64::MAX, |_| 1).0.len(), NINES * STEPS + 1);
    }

    #[test]
    fn a_drawing_names_every_series_that_has_points() {
        let (some, none) = (Curve::sample(100, |_| 250), Curve::default());
        let svg = draw("a < b", &[("ring.rtt.128", &some), ("gone", &none), ("ring.rtt.128.service", &some)]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b") && svg.contains(">ring.rtt.128<") && !svg.contains("gone"));
        for label in ["percentile", "latency", "99.999 %", "100 ns", "1 µs"] {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(svg.matches("stroke-dasharray").count(), 2);
        assert_eq!(svg.matches(COLOURS[0]).count(), 4);
    }
}
