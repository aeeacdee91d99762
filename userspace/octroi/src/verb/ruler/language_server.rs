//! `octroi ruler language-server`: an editor asks, over standard input and output, what is wrong with what is being written.
//!
//! The Language Server Protocol, of which it does one thing: diagnostics, after each change, of programs that need not be
//! on disk. What it says of them is in `buffers`; here messages are read and answered.
mod buffers;
mod place;

use anyhow::{Context, Result};
use clap::Args;
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::{
    DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams,
    PublishDiagnosticsParams, ServerCapabilities, TextDocumentSyncCapability, TextDocumentSyncKind,
    notification::{
        DidChangeTextDocument, DidCloseTextDocument, DidOpenTextDocument, Notification as _,
        PublishDiagnostics,
    },
};
use serde::de::DeserializeOwned;

use super::program::Reading;
use crate::verb::Outcome;
use buffers::Buffers;

/// Tell an editor what is wrong with programs while they are written: a server of the Language Server Protocol.
///
/// Editors start it themselves; editors/README.md says how they are told to.
#[derive(Debug, Args)]
pub(crate) struct LanguageServer {
    #[command(flatten)]
    reading: Reading,
    /// Standard input and output are used whether it is said or not; some editors always say it.
    #[arg(long, hide = true)]
    stdio: bool,
}

impl LanguageServer {
    /// Serves until the editor has enough.
    ///
    /// # Errors
    /// The other end does not speak the protocol, or is gone without a word.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let reading = absolute(&self.reading)?;
        let (connection, threads) = Connection::stdio();
        serve(&connection, &reading)?;
        // The thread that writes ends with its queue.
        drop(connection);
        threads.join().context("standard input or output")?;
        Ok(Outcome::Well)
    }
}

/// With directories as an editor names what is in them.
fn absolute(reading: &Reading) -> Result<Reading> {
    let include = reading.include.iter().map(std::path::absolute).collect::<Result<_, _>>();
    Ok(Reading { include: include.context("-I")?, ..reading.clone() })
}

fn serve(connection: &Connection, reading: &Reading) -> Result<()> {
    let full = TextDocumentSyncCapability::Kind(TextDocumentSyncKind::FULL);
    let capabilities = ServerCapabilities { text_document_sync: Some(full), ..ServerCapabilities::default() };
    connection.initialize(serde_json::to_value(capabilities)?)?;
    let mut buffers = Buffers::default();
    while let Ok(message) = connection.receiver.recv() {
        match message {
            Message::Request(request) => {
                if connection.handle_shutdown(&request)? {
                    return Ok(());
                }
                connection.sender.send(refuse(request).into())?;
            }
            Message::Notification(notification) => take(notification, &mut buffers),
            Message::Response(_) => {}
        }
        // Who types fast has changed it again before it is judged.
        if connection.receiver.is_empty() {
            for (uri, diagnostics) in buffers.judge(reading) {
                let params = PublishDiagnosticsParams { uri, diagnostics, version: None };
                let shown = Notification::new(PublishDiagnostics::METHOD.to_owned(), params);
                connection.sender.send(shown.into())?;
            }
        }
    }
    Ok(())
}

/// It offered none of this.
fn refuse(Request { id, method, .. }: Request) -> Response {
    Response::new_err(id, ErrorCode::MethodNotFound as i32, format!("no `{method}` here"))
}

/// What an editor says that is not understood changes nothing, as the protocol has it.
fn take(notification: Notification, buffers: &mut Buffers) {
    match notification.method.as_str() {
        DidOpenTextDocument::METHOD => {
            if let Some(DidOpenTextDocumentParams { text_document }) = params(notification) {
                buffers.write(text_document.uri, text_document.text);
            }
        }
        DidChangeTextDocument::METHOD => {
            let Some(DidChangeTextDocumentParams { text_document, content_changes }) = params(notification)
            else {
                return;
            };
            // Each is the whole text.
            if let Some(last) = content_changes.into_iter().next_back() {
                buffers.write(text_document.uri, last.text);
            }
        }
        DidCloseTextDocument::METHOD => {
            if let Some(DidCloseTextDocumentParams { text_document }) = params(notification) {
                buffers.close(&text_document.uri);
            }
        }
        _ => {}
    }
}

fn params<P: DeserializeOwned>(notification: Notification) -> Option<P> {
    serde_json::from_value(notification.params).ok()
}

#[cfg(test)]
mod tests;
