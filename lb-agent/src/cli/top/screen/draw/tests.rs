use anyhow::anyhow;
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::*;
use crate::{
    cli::{
        args::TopSort,
        top::screen::{
            keys::{Step, press},
            state::Interval,
        },
    },
    inventory::{ServicePort, rates::Rates},
};

fn rates(name: &str, connections: f64, rtt: Option<f64>) -> Rates {
    let service = ServicePort {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        port: "http".to_owned(),
    };
    Rates {
        service: Some(service),
        protocol: "TCP".to_owned(),
        connections_per_second: connections,
        round_trip_seconds: rtt,
        connect_failures_per_second: Some(1.5),
        ..Rates::default()
    }
}

/// With one backend each.
fn interval(rates: Vec<Rates>) -> Interval {
    let backends = rates.iter().map(|r| {
        let backend = Member::for_tests(3, [10, 244, 1, 7], 4);
        ((r.protocol.clone(), r.name()), [(3, backend)].into())
    });
    Interval {
        backends: backends.collect(),
        rates,
    }
}

fn seen(has_colour: bool) -> State {
    let mut state = State::new(TopSort::Connections, has_colour);
    state.see(Ok(interval(vec![
        rates("cart", 1.0, Some(0.0201)),
        rates("web", 7.0, None),
        rates("db", 3.0, Some(0.000_08)),
    ])));
    state
}

fn drawn(state: &mut State, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content().chunks(width);
    let line = |row: &[ratatui::buffer::Cell]| {
        let symbols = row.iter().map(ratatui::buffer::Cell::symbol);
        symbols.collect::<String>()
    };
    rows.map(|row| line(row).trim_end().to_owned()).collect()
}

/// The names of the rows, as they stand.
fn names(state: &mut State) -> Vec<String> {
    let all = lines(&drawn(state, 120, 8));
    let words = all.iter().filter_map(|line| line.strip_prefix("shop/"));
    words
        .filter_map(|line| line.split(':').next().map(str::to_owned))
        .collect()
}

fn keys(state: &mut State, codes: &[KeyCode]) -> Step {
    let press = |step, code: &KeyCode| match step {
        Step::On => press(state, KeyEvent::new(*code, KeyModifiers::NONE)),
        ended => ended,
    };
    codes.iter().fold(Step::On, press)
}

fn word(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn the_list_is_sorted_and_says_what_is_known() {
    let mut state = seen(true);
    let all = lines(&drawn(&mut state, 120, 8));
    assert_eq!(all[0], "lb-agent top  3 Service ports");
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let head = words(&all[1]);
    assert_eq!(head[..3], ["SERVICE", "PROT", "CONN/S▼"]);
    assert_eq!(words(&all[2])[..3], ["shop/web:http", "TCP", "7.0"]);
    assert_eq!(words(&all[4])[7..], ["20.1ms", "1.5", "-"]);
    assert!(all[7].contains("q end"), "{}", all[7]);
    keys(&mut state, &word("t"));
    assert_eq!(names(&mut state), ["cart", "db", "web"]);
    // From the round trip times to the failed connects, which are equal.
    keys(&mut state, &word("s"));
    assert_eq!(state.sort, TopSort::Failures);
}

#[test]
fn the_selected_row_stays_when_rows_move() {
    let mut state = seen(true);
    let reversed = |state: &mut State| {
        let buffer = drawn(state, 120, 8);
        let row = (0..8).find(|y| buffer[(0, *y)].modifier.contains(Modifier::REVERSED));
        lines(&buffer)[usize::from(row.unwrap())]
            .split(':')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(reversed(&mut state), "shop/web");
    keys(&mut state, &[KeyCode::Down]);
    assert_eq!(reversed(&mut state), "shop/db");
    state.see(Ok(interval(vec![
        rates("db", 1.0, None),
        rates("new", 5.0, None),
        rates("web", 4.0, None),
    ])));
    assert_eq!(reversed(&mut state), "shop/db");
    keys(&mut state, &word("g"));
    assert_eq!(reversed(&mut state), "shop/new");
    keys(&mut state, &[KeyCode::End, KeyCode::Down]);
    assert_eq!(reversed(&mut state), "shop/db");
    keys(&mut state, &word("kk"));
    assert_eq!(reversed(&mut state), "shop/new");
}

#[test]
fn a_filter_admits_names_and_goes_with_escape() {
    let mut state = seen(true);
    // Letters of the filter are no keys.
    assert_eq!(keys(&mut state, &word("/CARTq")), Step::On);
    assert!(names(&mut state).is_empty());
    keys(&mut state, &[KeyCode::Backspace]);
    assert_eq!(lines(&drawn(&mut state, 120, 8))[7], "/CART_");
    keys(&mut state, &[KeyCode::Enter]);
    assert_eq!(names(&mut state), ["cart"]);
    assert!(lines(&drawn(&mut state, 120, 8))[7].starts_with("filter: CART"));
    keys(&mut state, &[KeyCode::Esc]);
    assert_eq!(names(&mut state).len(), 3);
}

#[test]
fn enter_shows_backends_and_escape_leads_back() {
    let mut state = seen(true);
    keys(&mut state, &[KeyCode::Down, KeyCode::Enter]);
    let all = lines(&drawn(&mut state, 120, 8));
    assert_eq!(all[0], "lb-agent top  shop/db:http TCP");
    let words: Vec<&str> = all[2].split_whitespace().collect();
    assert_eq!(words, ["10.244.1.7:8080", "-", "-", "100", "4", "ready"]);
    keys(&mut state, &[KeyCode::Esc]);
    assert_eq!(names(&mut state).len(), 3);
    keys(&mut state, &word("?"));
    let all = lines(&drawn(&mut state, 120, 14)).join("\n");
    assert!(HELP.iter().all(|(_, what)| all.contains(what)), "{all}");
    assert_eq!(keys(&mut state, &word("q")), Step::End);
}

#[test]
fn backends_scroll_and_say_that_they_are_cut() {
    let mut web = interval(vec![rates("web", 1.0, None)]);
    let member = |id| (id, Member::for_tests(id, [10, 244, 2, 0], u64::from(id)));
    for backends in web.backends.values_mut() {
        *backends = (0..9).map(member).collect();
    }
    let mut state = State::new(TopSort::Connections, true);
    state.see(Ok(web));
    keys(&mut state, &[KeyCode::Enter]);
    let active = |all: &[String]| -> Vec<String> {
        let rows = all[2..7].iter().map(|line| line.split_whitespace().nth(4));
        rows.map(|cell| cell.unwrap_or_default().to_owned())
            .collect()
    };
    for (code, first, rows) in [
        (KeyCode::Up, 0, "rows 1-5 of 9"),
        (KeyCode::PageDown, 1, "rows 2-6 of 9"),
        (KeyCode::End, 4, "rows 5-9 of 9"),
        (KeyCode::Char('k'), 4, "rows 5-9 of 9"),
        (KeyCode::Char('g'), 0, "rows 1-5 of 9"),
    ] {
        keys(&mut state, &[code]);
        let all = lines(&drawn(&mut state, 120, 8));
        assert_eq!(all[0], format!("lb-agent top  shop/web:http TCP  {rows}"));
        let expected: Vec<String> = (first..first + 5).map(|n| n.to_string()).collect();
        assert_eq!(active(&all), expected, "{code:?}");
    }
    // The list has stayed where it was, and another visit begins above.
    keys(&mut state, &[KeyCode::End, KeyCode::Esc]);
    assert_eq!(names(&mut state), ["web"]);
    keys(&mut state, &[KeyCode::Enter]);
    let all = lines(&drawn(&mut state, 120, 8));
    assert!(all[0].ends_with("rows 1-5 of 9"), "{}", all[0]);
    // Gone meanwhile: it is no other Service port's.
    state.see(Ok(interval(vec![rates("other", 1.0, None)])));
    let all = lines(&drawn(&mut state, 120, 8));
    assert_eq!(all[0], "lb-agent top  shop/web:http TCP");
    assert_eq!(all[2], "");
}

#[test]
fn a_list_that_is_cut_says_so_and_its_columns_are_those_of_what_is_visible() {
    let mut last = interval(vec![rates(&"long".repeat(20), 0.0, None)]);
    last.rates
        .extend((0..20).map(|n| rates(&n.to_string(), 1.0, None)));
    let mut state = State::new(TopSort::Connections, true);
    state.see(Ok(last));
    let all = lines(&drawn(&mut state, 200, 8));
    assert_eq!(all[0], "lb-agent top  21 Service ports  rows 1-5 of 21");
    let column = |all: &[String]| all[1].find("PROT").unwrap();
    assert_eq!(column(&all), "shop/0:http".len() + 2);
    keys(&mut state, &[KeyCode::End]);
    let all = lines(&drawn(&mut state, 200, 8));
    assert_eq!(all[0], "lb-agent top  21 Service ports  rows 17-21 of 21");
    assert!(column(&all) > 80);
}

#[test]
fn colour_is_there_unless_it_is_not_wanted() {
    for has_colour in [true, false] {
        let mut state = seen(has_colour);
        state.see(Err(anyhow!("no pins")));
        let buffer = drawn(&mut state, 120, 8);
        let is_coloured = buffer.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(is_coloured, has_colour);
        assert!(lines(&buffer)[0].ends_with("no pins"));
        // What was seen last stays.
        assert_eq!(names(&mut state).len(), 3);
    }
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(1, 1), (20, 3), (400, 100)] {
        let mut state = seen(true);
        for mode in [Mode::List, Mode::Filter, Mode::Backends, Mode::Help] {
            state.mode = mode;
            drawn(&mut state, width, height);
        }
    }
    let mut nothing = State::new(TopSort::Rtt, true);
    keys(
        &mut nothing,
        &[KeyCode::Down, KeyCode::Enter, KeyCode::End, KeyCode::PageUp],
    );
    let all = lines(&drawn(&mut nothing, 80, 4));
    assert!(all[0].contains("waiting"), "{}", all[0]);
}

#[test]
fn keys_of_the_terminal_end_and_stop_it_from_anywhere() {
    for before in [vec![], word("/"), vec![KeyCode::Enter]] {
        let mut state = seen(true);
        keys(&mut state, &before);
        for (letter, step) in [('c', Step::End), ('4', Step::End), ('z', Step::Stop)] {
            let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            assert_eq!(press(&mut state, key), step, "{letter}");
        }
    }
}
