//! The picture of one metric: a bar for each row, its end the median, with a line from the lowest
//! round to the highest.

use crate::{report::add, samples::Samples};

/// Pixels.
const LEFT: f64 = 330.0;
const WIDTH: f64 = 420.0;
const RIGHT: f64 = 90.0;
const LINE: f64 = 20.0;
const TOP: f64 = 40.0;

/// An SVG that reads on light and dark pages.
pub(crate) fn svg(samples: &Samples, metric: usize) -> String {
    let rows: Vec<_> = samples
        .rows
        .iter()
        .enumerate()
        .filter_map(|(row, name)| Some((name, samples.spread(row, metric)?)))
        .collect();
    let most = rows.iter().map(|(_, s)| s.max).fold(1.0, f64::max);
    // A single outlier must not make the bars unreadable: its line leaves the picture.
    let widest = rows.iter().map(|(_, s)| s.median).fold(1.0, f64::max);
    let scale = WIDTH / most.min(widest * 1.25);
    let height = TOP + LINE * f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)) + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{height}\" \
         viewBox=\"0 0 {w} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n\
         <text x=\"8\" y=\"22\" font-size=\"14\">{}, {} (median, and all rounds)</text>\n",
        escaped(samples.metrics[metric].name),
        samples.metrics[metric].unit,
        w = LEFT + WIDTH + RIGHT,
    );
    let mut y = TOP;
    for (name, spread) in rows {
        let middle = y + LINE / 2.0;
        let x = |value: f64| LEFT + (value * scale).min(WIDTH);
        let colour = if name.starts_with("kube-proxy") || name.starts_with("IPVS") {
            "#c96f4a"
        } else if name.starts_with("direct") {
            "#999999"
        } else {
            "#4a86c9"
        };
        add(
            &mut text,
            format_args!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#333\" stroke-width=\"1.5\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\">{:.*}</text>\n",
                LEFT - 8.0,
                middle + 4.0,
                escaped(name),
                y + 3.0,
                x(spread.median) - LEFT,
                LINE - 6.0,
                x(spread.min),
                x(spread.max),
                x(spread.max) + 6.0,
                middle + 4.0,
                usize::from(spread.median < 100.0),
                spread.median,
            ),
        );
        y += LINE;
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
