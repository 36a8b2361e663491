//! A real browser on a host: Debian's chromium without a window, spoken to by the DevTools protocol.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::{host::Host, poll, process::Process};

/// Its start, on a machine that may be busy.
const START: Duration = Duration::from_mins(1);
/// An answer of its own, and what a page shows after a while.
pub const SHOWN: Duration = Duration::from_secs(30);

/// Ends with this value.
#[derive(Debug)]
pub struct Browser {
    tab: Devtools,
    /// Its processes end with it.
    whole: Devtools,
    process: Process,
}

/// Whether pages may run scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scripts {
    /// As anywhere.
    On,
    /// As where they are forbidden.
    Off,
}

impl Browser {
    /// Starts it there with one empty tab; its files are made below `files`.
    pub fn start(host: &Host, files: &Path) -> Result<Self> {
        let home = files.join("browser");
        fs::create_dir_all(&home).context("make a folder for the browser")?;
        let env = |name: &str, dir: &Path| format!("{name}={}", dir.display());
        let words = [
            "env",
            &env("HOME", &home),
            &env("XDG_RUNTIME_DIR", &home),
            "chromium",
            "--headless=new",
            // Root has no other choice, and nothing but our own page is opened.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-breakpad",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            // Grey edges of letters, which every screen shows alike.
            "--disable-lcd-text",
            "--force-device-scale-factor=1",
            "--remote-debugging-port=0",
            &format!("--user-data-dir={}", home.display()),
            "about:blank",
        ];
        let mut process = Process::start(host.sandbox(), &words, &files.join("browser.log"))?;
        let port = poll::until(START, "the browser listens", || {
            if let Some(status) = process.ended()? {
                bail!("chromium ended with {status}: {}", process.said()?);
            }
            port(&home)
        })?;
        let mut whole = Devtools::open(host, port.0, &port.1)?;
        let tab = whole.command("Target.createTarget", &json!({"url": "about:blank"}))?;
        let id = tab["targetId"].as_str().context("no tab")?;
        let mut tab = Devtools::open(host, port.0, &format!("/devtools/page/{id}"))?;
        tab.command("Page.enable", &json!({}))?;
        Ok(Self {
            tab,
            whole,
            process,
        })
    }

    /// Opens an address and waits until everything is loaded.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.tab.command("Page.navigate", &json!({"url": url}))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        poll::until_true(SHOWN, "the page is loaded", || {
            let state = self.evaluate("document.readyState + ' ' + location.href")?;
            Ok(state
                .as_str()
                .is_some_and(|s| s.starts_with("complete ") && !s.ends_with("blank")))
        })
    }

    /// The value of an expression, in the page.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.tab.command("Runtime.evaluate", &asked)?;
        if answer.get("exceptionDetails").is_some() {
            bail!("{expression}: {answer}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, what: &str, expression: &str) -> Result<()> {
        poll::until_true(
            SHOWN,
            what,
            || Ok(self.evaluate(expression)? == json!(true)),
        )
    }

    /// Presses a key and lets it go: a letter, `Enter` or `Escape`.
    pub fn key(&mut self, key: &str) -> Result<()> {
        let (text, code) = match key {
            "Enter" => ("\r", 13),
            "Escape" => ("", 27),
            letter => (letter, 0),
        };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            let event =
                json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
            self.tab.command("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// For the next page.
    pub fn scripts(&mut self, scripts: Scripts) -> Result<()> {
        let off = json!({"value": scripts == Scripts::Off});
        self.tab
            .command("Emulation.setScriptExecutionDisabled", &off)?;
        Ok(())
    }

    /// What people set their system to: `light` or `dark`.
    pub fn colours(&mut self, scheme: &str) -> Result<()> {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tab.command("Emulation.setEmulatedMedia", &media)?;
        Ok(())
    }

    /// How large the window is, in pixels.
    pub fn size(&mut self, width: u32, height: u32) -> Result<()> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tab
            .command("Emulation.setDeviceMetricsOverride", &size)?;
        Ok(())
    }

    /// What is in the window, as WebP.
    pub fn screenshot(&mut self) -> Result<Vec<u8>> {
        let shot = self.tab.command(
            "Page.captureScreenshot",
            &json!({"format": "webp", "quality": 85}),
        )?;
        let data = shot["data"].as_str().context("no picture")?;
        BASE64_STANDARD.decode(data).context("read the picture")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What does not end by itself is killed with the process.
        if self.whole.command("Browser.close", &json!({})).is_ok() {
            let _ = self.process.wait(SHOWN);
        }
    }
}

/// The port that it has chosen, and the path of its own connection.
fn port(home: &Path) -> Result<Option<(u16, String)>> {
    let path: PathBuf = home.join("DevToolsActivePort");
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let Some((port, path)) = text.split_once('\n') else {
        return Ok(None);
    };
    Ok(Some((
        port.parse().context("no port")?,
        path.trim().to_owned(),
    )))
}

/// A connection of the DevTools protocol.
#[derive(Debug)]
struct Devtools {
    socket: WebSocket<Stream>,
    asked: u64,
}

/// Its stream: a machine that was paused meanwhile breaks no call.
#[derive(Debug)]
struct Stream(TcpStream);

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        poll::uninterrupted(|| self.0.read(bytes))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poll::uninterrupted(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Devtools {
    fn open(host: &Host, port: u16, path: &str) -> Result<Self> {
        let stream = host.block(|| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?))?;
        stream.set_read_timeout(Some(poll::patient(SHOWN)))?;
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = client(url, Stream(stream)).context("speak to the browser")?;
        Ok(Self { socket, asked: 0 })
    }

    /// Sends a command, and waits for its answer; events in between are of no interest.
    fn command(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.asked += 1;
        let text = json!({"id": self.asked, "method": method, "params": params}).to_string();
        self.socket
            .send(Message::text(text))
            .context(method.to_owned())?;
        loop {
            let message = self
                .socket
                .read()
                .with_context(|| format!("no answer to {method}"))?;
            let Message::Text(text) = message else {
                continue;
            };
            let mut answer: Value = serde_json::from_str(&text)?;
            if answer["id"] != self.asked {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(answer["result"].take());
        }
    }
}
