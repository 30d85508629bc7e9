//! The cloud through the AWS SDK.

mod connect;
mod groups;
mod instances;
mod network;
mod policies;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_acls;
mod wire;

pub use connect::Endpoint;
#[cfg(test)]
pub(crate) use testing::FakeScaling;
#[cfg(test)]
pub(crate) use testing_acls::FakeAcls;

use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::CloudError;
use crate::cluster::{Expiry, Leash, OffLeash};
use crate::record::AwsId;

/// An open account. Cheap to clone.
#[derive(Clone)]
pub struct Cloud {
    id: AwsId,
    expiry: Option<Expiry>,
    ec2: aws_sdk_ec2::Client,
    scaling: aws_sdk_autoscaling::Client,
    iam: aws_sdk_iam::Client,
    leash: Leash,
}

impl Cloud {
    /// Account, region and cluster.
    #[must_use]
    pub const fn id(&self) -> &AwsId {
        &self.id
    }

    /// When the credentials end, where that can be known and nobody renews them.
    #[must_use]
    pub const fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Wraps an error of the SDK with what was called.
fn failed<E>(action: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| {
        let code = error.code().map(ToOwned::to_owned);
        let status = error.raw_response().map(|response| response.status().as_u16());
        let message = match error.message() {
            Some(message) => message.to_owned(),
            None => DisplayErrorContext(&error).to_string(),
        };
        CloudError { action: action.to_owned(), code, message, status, unsent: held_back(&error) }
    }
}

/// Whether the leash stopped it.
fn held_back(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<OffLeash>)
}
