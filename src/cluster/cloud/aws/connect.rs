//! Opening an account: its credentials found, and proved to be of the account that was meant before anything else is asked.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{HttpClient, SharedHttpClient};
use aws_smithy_runtime_api::shared::IntoShared as _;

use super::super::{CloudError, Wanted, again};
use super::wire::Wire;
use super::{Cloud, failed};
use crate::cluster::{ConnectError, Expiry, Leash, Ledger};
use crate::record::AwsId;

/// Time limit of one try of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Variables that put another endpoint in the place of one service's own.
const ENDPOINTS: [&str; 4] =
    ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_AUTO_SCALING", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM"];

impl Cloud {
    /// Opens the account, and asks who calls.
    ///
    /// # Errors
    ///
    /// When there are no credentials, when they are not accepted, or when they belong to another account than the one meant. Nothing
    /// but `sts:GetCallerIdentity` was called then.
    pub async fn connect(
        wanted: &Wanted,
        endpoint: Option<&Endpoint>,
        ledger: Ledger,
        leash: Leash,
    ) -> Result<Self, ConnectError> {
        let config = match endpoint {
            Some(endpoint) => endpoint.config(&wanted.region, ledger, leash.clone()),
            None => of_environment(&wanted.region, ledger, leash.clone()).await,
        };
        let expiry = expiry(&config).await?;
        let sts = aws_sdk_sts::Client::new(&config);
        let who = again(|| async { sts.get_caller_identity().send().await.map_err(failed("sts:GetCallerIdentity")) })
            .await
            .map_err(|e| unidentified(&e, &config))?;
        let account = who.account().unwrap_or_default();
        if account != wanted.account {
            return Err(ConnectError::new(
                format!(
                    "the AWS credentials belong to account {account} ({}), and the experiment is for {}",
                    who.arn().unwrap_or_default(),
                    wanted.account
                ),
                "nothing but the caller's identity was asked; use a profile of that account (AWS_PROFILE), or correct `spec.aws.account`",
            ));
        }
        let id = AwsId {
            account: account.to_owned(),
            region: wanted.region.clone(),
            cluster: wanted.cluster.clone(),
            caller: who.arn().unwrap_or_default().to_owned(),
            endpoints: endpoint.map_or_else(|| endpoints(&config), |endpoint| vec![endpoint.name.clone()]),
        };
        Ok(Self::of(id, expiry, &config, leash))
    }

    /// Opens an account of which everything is known, and asks nothing.
    #[must_use]
    pub fn open(endpoint: &Endpoint, id: AwsId, ledger: Ledger, leash: Leash) -> Self {
        let config = endpoint.config(&id.region, ledger, leash.clone());
        let id = AwsId { endpoints: vec![endpoint.name.clone()], ..id };
        Self::of(id, None, &config, leash)
    }

    fn of(id: AwsId, expiry: Option<Expiry>, config: &SdkConfig, leash: Leash) -> Self {
        Self {
            id,
            expiry,
            ec2: aws_sdk_ec2::Client::new(config),
            scaling: aws_sdk_autoscaling::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            leash,
        }
    }
}

/// A service that stands in the place of AWS, for every region and account.
#[derive(Debug, Clone)]
pub struct Endpoint {
    name: String,
    http: SharedHttpClient,
}

impl Endpoint {
    /// A service behind an HTTP client of the SDK's; records call it by its name.
    #[must_use]
    pub fn new(name: &str, http: impl HttpClient + 'static) -> Self {
        Self { name: name.to_owned(), http: http.into_shared() }
    }

    /// Neither environment nor files of this machine are looked at.
    fn config(&self, region: &str, ledger: Ledger, leash: Leash) -> SdkConfig {
        let credentials = Credentials::new("AKIDLAB", "lab", None, None, "the embedded cluster");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Wire { inner: self.http.clone(), ledger, leash })
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

/// As the environment, its profile and the machine say.
async fn of_environment(region: &str, ledger: Ledger, leash: Leash) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(Wire { inner: http, ledger, leash })
        // Retries are ours, where they can be seen and ended.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .load()
        .await
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build()
}

/// When the credentials end, where they say so and nobody renews them.
async fn expiry(config: &SdkConfig) -> Result<Option<Expiry>, ConnectError> {
    let missing = |why: String| {
        ConnectError::new(
            format!("there are no AWS credentials: {why}"),
            "set AWS_PROFILE, or the variables that `aws configure export-credentials --format env` prints",
        )
    };
    let Some(provider) = config.credentials_provider() else { return Err(missing("no provider".to_owned())) };
    let credentials = provider
        .provide_credentials()
        .await
        .map_err(|e| missing(aws_smithy_types::error::display::DisplayErrorContext(&e).to_string()))?;
    // Those from the environment stay as they are; every other provider of the chain fetches new ones before the old ones end.
    let lasting = std::env::var("AWS_ACCESS_KEY_ID").is_ok_and(|key| key == credentials.access_key_id());
    let said = std::env::var("AWS_CREDENTIAL_EXPIRATION").ok().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    Ok(said.filter(|_| lasting).map(|at| Expiry { what: "credentials for AWS", at }))
}

fn unidentified(error: &CloudError, config: &SdkConfig) -> ConnectError {
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    match &error.code {
        Some(_) if error.is_unknown_caller() => ConnectError::new(
            format!("AWS does not accept the credentials: {error}"),
            "log in again, and look at the clock of this machine",
        ),
        Some(_) => ConnectError::plain(format!("AWS refuses to say who calls: {error}")),
        None => ConnectError::new(
            format!("AWS can't be reached in region `{region}`: {error}"),
            "is there a way to it from here? Where an endpoint is set (AWS_ENDPOINT_URL), is it up?",
        ),
    }
}

/// What stands in the place of AWS's own endpoints: a person must see it.
fn endpoints(config: &SdkConfig) -> Vec<String> {
    let mut found: Vec<String> = config.endpoint_url().map(ToOwned::to_owned).into_iter().collect();
    if std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_ok_and(|ignored| ignored == "true") {
        return found;
    }
    found.extend(["AWS_ENDPOINT_URL"].iter().chain(&ENDPOINTS).filter_map(|name| std::env::var(name).ok()));
    found.sort();
    found.dedup();
    found
}
