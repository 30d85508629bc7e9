//! Calling again while there is hope.

use std::time::Duration;

use super::CloudError;

/// Tries of one call.
const ATTEMPTS: u32 = 8;
/// Pause after the first failed try; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Calls up to [`ATTEMPTS`] times while the answer is a transient error, with a growing pause between: some twenty seconds in all,
/// because the services throttle a whole account at a time and others drain the same bucket.
pub(super) async fn again<T, F>(mut call: impl FnMut() -> F) -> Result<T, CloudError>
where
    F: Future<Output = Result<T, CloudError>>,
{
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        match call().await {
            Err(e) if e.is_transient() && attempt < ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> CloudError {
        CloudError {
            action: "autoscaling:SuspendProcesses".into(),
            code: Some(code.into()),
            message: String::new(),
            status: Some(400),
            unsent: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_again_while_there_is_hope() {
        let began = tokio::time::Instant::now();
        let mut tries = 0;
        let answer = again(|| {
            tries += 1;
            let answer = if tries < 4 { Err(error("Throttling")) } else { Ok(tries) };
            async move { answer }
        });
        assert_eq!(answer.await, Ok(4));
        assert_eq!(began.elapsed().as_millis() / 10, (250 + 500 + 1000) / 10);
        let mut tries = 0;
        let answer: Result<(), _> = again(|| {
            tries += 1;
            async { Err(error("ValidationError")) }
        })
        .await;
        assert!(answer.is_err() && tries == 1);
    }
}
