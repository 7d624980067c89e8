use super::*;

fn config(socket: &std::path::Path) -> Config {
    let mut config = Config::new();
    config.host_path(socket.parent().unwrap()).port(5433).user("user").dbname("database");
    config
}

/// A server that answers each connection with these bytes, and closes it.
async fn answered(bytes: &'static [u8]) -> DbError {
    let at = tempfile::tempdir().unwrap();
    let socket = at.path().join(".s.PGSQL.5433");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // What it does not read would make the end a reset.
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let opened = Wire::open(&config(&socket)).await;
    serving.await.unwrap();
    opened.unwrap_err()
}

#[tokio::test]
async fn a_server_that_is_none_is_an_error_and_never_a_wait_or_a_panic() {
    let nonsense = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!((nonsense.class, nonsense.code), (ErrorClass::Lost, None));
    let password = answered(b"R\0\0\0\x08\0\0\0\x03").await;
    assert!(password.message.contains("password"), "{password}");
    assert!(answered(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0").await.message.contains("wants a password"));
    assert!(answered(b"R\0\0\0\x08\0\0\0\x07").await.message.contains("not supported"));
    assert!(answered(b"R\0\0\0\x08\0\0\0\x0b").await.message.contains("not begun"));
    assert!(answered(b"Z\0\0").await.message.contains("closed"));
    assert!(answered(b"R\0\0\0\x04").await.message.contains("protocol"));
    assert!(answered(b"Z\0\0\0\0").await.message.contains("protocol"));
    let refused = answered(b"E\0\0\0\x19SFATAL\0C53300\0Mfull\0\0Z\0\0\0\x05I").await;
    assert_eq!((refused.code.as_deref(), refused.message.as_str()), (Some("53300"), "full"));
    let mut encrypted = Config::new();
    encrypted.host("localhost").ssl_mode(SslMode::Require);
    assert!(Wire::open(&encrypted).await.unwrap_err().message.contains("without TLS"));
}

#[test]
fn the_first_value_is_read_and_a_cut_one_is_none() {
    let all = |body: &[u8]| values(body).collect::<Vec<_>>();
    assert_eq!(all(b"\0\x02\0\0\0\x02ab\0\0\0\x01c"), [Some("ab".to_owned()), Some("c".to_owned())]);
    assert_eq!(all(b"\0\x01\xff\xff\xff\xff"), [None]);
    assert_eq!(all(b"\0\x01\0\0\0\x09ab"), []);
    assert_eq!(all(b"\0\0"), []);
    assert_eq!(all(b""), []);
}

/// The password message that is sent to a server that wants a password in this way, once it has been let in; the
/// server sends its words in two parts, as a network may.
async fn proof(word: &'static [u8]) -> Vec<u8> {
    let at = tempfile::tempdir().unwrap();
    let socket = at.path().join(".s.PGSQL.5433");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let startup = stream.read_u32().await.unwrap() as usize;
        stream.read_exact(&mut vec![0; startup - 4]).await.unwrap();
        let (first, second) = word.split_at(word.len() / 2);
        stream.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(second).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'p');
        let mut proof = vec![0; stream.read_u32().await.unwrap() as usize - 4];
        stream.read_exact(&mut proof).await.unwrap();
        stream.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x2a\0\0\0\x01Z\0\0\0\x05I").await.unwrap();
        proof
    });
    let opened = Wire::open(config(&socket).password("secret")).await.unwrap();
    assert_eq!(opened.id(), SessionId(42));
    serving.await.unwrap()
}

#[tokio::test]
async fn a_password_is_sent_as_it_is_or_as_the_hash_with_the_server_s_salt_as_it_is_wanted() {
    assert_eq!(proof(b"R\0\0\0\x08\0\0\0\x03").await, b"secret\0");
    // "md5" and md5(md5("secret" + "user") + salt), as another program computes it.
    let hash = b"md548eee25efa2fa3d1400a6530e6ba064b\0";
    assert_eq!(proof(b"R\0\0\0\x0c\0\0\0\x05\x01\x02\xfd\x04").await, hash);
    let short = answered(b"R\0\0\0\x0a\0\0\0\x05\x01\x02").await;
    assert!(short.message.contains("salt"), "{short}");
}
