use super::*;
use crate::api::HttpProbe;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub fn get(path: &str) -> HttpProbe {
    HttpProbe {
        tls: None,
        method: "GET".into(),
        path: path.into(),
        host: None,
        headers: BTreeMap::new(),
        status: vec![(200, 299)],
        body: None,
    }
}

pub async fn head<S: AsyncReadExt + Unpin>(stream: &mut S) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

/// Answers each request with `text`.
async fn answers(text: &'static str) -> Server {
    serve(move |mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(text.as_bytes()).await;
    })
    .await
}

/// Answers with `begin`, and then `again` without end.
async fn floods(begin: &'static str, again: &'static str) -> Server {
    serve(move |mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(begin.as_bytes()).await;
        let again = again.repeat(100);
        while stream.write_all(again.as_bytes()).await.is_ok() {}
    })
    .await
}

async fn ask(server: &Server, http: HttpProbe) -> Outcome {
    probe(server.at, Probe::Http(http)).await
}

#[tokio::test]
async fn a_status_is_expected_or_not() {
    let ok = answers("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(ask(&ok, get("/")).await, up("status 204"));
    let broken = answers("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(ask(&broken, get("/")).await, down("status 500"));
    let accepts = HttpProbe {
        status: vec![(200, 200), (500, 503)],
        ..get("/")
    };
    assert_eq!(ask(&broken, accepts).await, up("status 500"));
}

#[tokio::test]
async fn the_request_is_the_one_that_was_asked_for() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(head(&mut stream).await);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let http = HttpProbe {
        method: "HEAD".into(),
        host: Some("shop.example:8080".into()),
        headers: [("X-Probe".to_owned(), "yes".to_owned())].into(),
        ..get("/ready?deep=1")
    };
    assert!(ask(&server, http).await.success);
    let request = told.recv().await.unwrap();
    assert!(
        request.starts_with("HEAD /ready?deep=1 HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        "host: shop.example:8080",
        "x-probe: yes",
        "connection: close",
    ] {
        assert!(request.contains(&format!("{line}\r\n")), "{request}");
    }
    assert!(ask(&server, get("/")).await.success);
    let request = told.recv().await.unwrap();
    assert!(
        request.contains(&format!("host: {}\r\n", server.at)),
        "{request}"
    );

    let wrong = HttpProbe {
        headers: [("a b".to_owned(), String::new())].into(),
        ..get("/")
    };
    let outcome = ask(&server, wrong).await;
    assert_eq!(
        outcome.reason,
        "`a b` cannot be sent as the name of a header"
    );
}

#[tokio::test]
async fn a_redirect_in_a_circle_is_a_status() {
    let server = answers("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(ask(&server, get("/")).await, down("status 302"));
}

#[tokio::test]
async fn a_body_contains_what_is_expected_or_not() {
    let expects = || HttpProbe {
        body: Some("ok".into()),
        ..get("/")
    };
    let good = answers("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall is ok").await;
    assert_eq!(ask(&good, expects()).await, up("status 200"));
    let bad = answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nnever").await;
    let lacks = down("the body does not contain \"ok\"");
    assert_eq!(ask(&bad, expects()).await, lacks);
    // In two pieces.
    let split = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall is o").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = stream.write_all(b"k").await;
        hang().await;
    })
    .await;
    assert_eq!(ask(&split, expects()).await, up("status 200"));
    let short = answers("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall").await;
    let cut = down("closed before the end of the answer");
    assert_eq!(ask(&short, expects()).await, cut);
    // Without end.
    let endless = floods("HTTP/1.1 200 OK\r\n\r\n", "never").await;
    assert_eq!(ask(&endless, expects()).await, lacks);
    // Nobody looks at the body.
    assert_eq!(ask(&endless, get("/")).await, up("status 200"));
}

#[tokio::test]
async fn heads_without_end_are_cut() {
    let long = down("the head of the answer is too long");
    let endless = floods("HTTP/1.1 200 OK\r\n", "x-more: yes\r\n").await;
    assert_eq!(ask(&endless, get("/")).await, long);
    let line = floods("HTTP/1.1 200 OK\r\nx-more: ", "more").await;
    assert_eq!(ask(&line, get("/")).await, long);
    let interim = floods("", "HTTP/1.1 100 Continue\r\n\r\n").await;
    let outcome = probe_within(SHORT, interim.at, Probe::Http(get("/"))).await;
    assert_eq!(outcome, down("no answer within 300 ms"));
}

#[tokio::test]
async fn answers_that_are_none() {
    let late = serve(|mut stream| async move {
        head(&mut stream).await;
        hang().await;
        drop(stream);
    })
    .await;
    let outcome = probe_within(SHORT, late.at, Probe::Http(get("/"))).await;
    assert_eq!(outcome, down("no answer within 300 ms"));
    let drips = serve(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let expects = HttpProbe {
        body: Some("ok".into()),
        ..get("/")
    };
    let outcome = probe_within(SHORT, drips.at, Probe::Http(expects)).await;
    assert_eq!(outcome, down("no end of the body within 300 ms"));

    let closed = answers("").await;
    let cut = down("closed before the end of the answer");
    assert_eq!(ask(&closed, get("/")).await, cut);
    let other = answers("220 mail.example ESMTP\r\n").await;
    assert_eq!(ask(&other, get("/")).await, down("the answer is no HTTP"));
    let refused = probe(NOWHERE, Probe::Http(get("/"))).await;
    assert_eq!(refused, down("connection refused"));
}
