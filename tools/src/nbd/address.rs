//! Where an NBD server listens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::NbdError;

/// How long a server may be silent with requests in flight: longer than a freeze holds writes.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// Where an NBD server listens: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host and a port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write HOST:PORT or unix:PATH, such as 127.0.0.1:10809".to_owned();
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(form()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(form());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Connects.
    pub(crate) fn connect(&self) -> Result<Stream, NbdError> {
        let stream = match self {
            Self::Tcp(address) => TcpStream::connect(address).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                Ok(Stream::Tcp(stream))
            }),
            Self::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                Ok(Stream::Unix(stream))
            }),
        };
        stream.map_err(|source| NbdError::Unreachable { address: self.clone(), source })
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Of the same machine.
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_socket() {
        assert_eq!("[::1]:10809".parse(), Ok(Address::Tcp("[::1]:10809".to_owned())));
        assert_eq!("unix:/run/nbd".parse(), Ok(Address::Unix("/run/nbd".into())));
        for nonsense in ["", "unix:", "host", ":1", "host:", "host:70000", "/run/nbd"] {
            assert!(nonsense.parse::<Address>().is_err(), "{nonsense:?} was taken");
        }
    }
}
