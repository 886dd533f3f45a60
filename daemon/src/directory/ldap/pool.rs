//! Connections that are kept for the next story. Each pool has one kind of identity, and a connection never changes its
//! pool: those on which people's passwords are tried are never used for rekeyd's own work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::Connection;
use super::wire::Failure;

/// After so long without use a connection is ended: firewalls forget such ones without a word, and servers end them, the
/// strictest after about as long. One that is used is no trouble to a server.
const MOST_IDLE: Duration = Duration::from_mins(1);

/// Some connections to one server, at most so many at once.
pub(super) struct Pool {
    places: Arc<Semaphore>,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// A connection out of a pool, or room for one. It goes back when dropped, if every request has its whole answer.
pub(super) struct Place {
    pub(super) connection: Option<Connection>,
    home: Option<(Arc<Pool>, OwnedSemaphorePermit)>,
}

impl Place {
    /// A connection that is of no pool, and ends with its story.
    pub(super) fn apart(connection: Connection) -> Self {
        Self { connection: Some(connection), home: None }
    }
}

impl Pool {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(most)), idle: Mutex::default() })
    }

    /// A kept connection whose server is there, or room for a new one.
    ///
    /// # Errors
    /// [`Failure::Busy`] where all are in use for so long.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Place, Failure> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(Failure::Busy("all connections to it are in use".into())),
            },
        };
        let mut place = Place { connection: None, home: Some((Arc::clone(self), permit)) };
        // The one used last is the likeliest to be there still.
        while let Some((since, mut connection)) = self.idle().pop() {
            if since.elapsed() < MOST_IDLE && connection.is_quiet() {
                place.connection = Some(connection);
                break;
            }
        }
        Ok(place)
    }

    /// Ends those that nobody uses any more, and those that the server has ended: neither side keeps them until a busier
    /// hour comes.
    pub(super) fn sweep(&self, now: Instant) {
        let over = |since: Instant| now.duration_since(since) >= MOST_IDLE;
        self.idle().retain_mut(|(since, connection)| !over(*since) && connection.is_quiet());
    }

    /// Ends all that are not in use.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().filter(Connection::is_settled) else { return };
        let Some((pool, _)) = &self.home else { return };
        pool.idle().push((Instant::now(), connection));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::UnixStream;

    use super::super::guard::Stream;
    use super::*;

    async fn used(pool: &Arc<Pool>) -> UnixStream {
        let (ours, server) = UnixStream::pair().unwrap();
        let mut place = pool.take(Duration::ZERO).await.unwrap();
        assert!(place.connection.is_none());
        place.connection = Some(Connection::new(Stream::Unix(ours)).await.unwrap());
        server
    }

    #[tokio::test]
    async fn connections_that_nobody_uses_and_that_have_ended_are_swept() {
        let pool = Pool::new(2);
        let server = used(&pool).await;
        pool.sweep(Instant::now());
        assert_eq!(pool.idle().len(), 1);
        drop(server);
        pool.sweep(Instant::now());
        assert_eq!(pool.idle().len(), 0, "the server has ended it");
        let mut server = used(&pool).await;
        pool.sweep(Instant::now() + MOST_IDLE);
        assert_eq!(pool.idle().len(), 0, "nobody has used it for long");
        // The server hears of it.
        let mut byte = [0];
        assert_eq!(tokio::io::AsyncReadExt::read(&mut server, &mut byte).await.unwrap(), 0);
    }
}
