//! A service on a thread of its own: requests in their order, one at a time.

use std::thread::JoinHandle;

use async_channel::Sender;
use futures::{StreamExt, future::FutureExt, pin_mut, select_biased};
use ros2_client::{
    CreateError, Message, Name, ServiceMapping, ServiceTypeName,
    qos::{History, QosProfile, WhenFull},
};

use super::{
    ingest::drain::{SharedNode, locked},
    msg::{RosService, service_type},
};

/// How services lie on DDS topics: each implementation of ROS has its own way.
///
/// `rmw_cyclonedds_cpp` puts the request's number into the message, all others beside it; a
/// node can only serve one of them, as any ROS node can.
pub fn mapping(rmw_implementation: Option<&str>) -> ServiceMapping {
    match rmw_implementation {
        Some("rmw_cyclonedds_cpp") => ServiceMapping::Cyclone,
        _ => ServiceMapping::Enhanced,
    }
}

/// What ROS gives to services: reliable, the last ten.
pub fn service_qos() -> QosProfile {
    QosProfile::publisher_default()
        .reliability_reliable(WhenFull::DEFAULT)
        .history(History::KeepLast { depth: 10 })
}

/// A service that is offered until this is dropped.
pub struct Service {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Offers the service under this name from the root.
    ///
    /// # Errors
    /// When the name is none, DDS refuses, or the system has no thread left.
    pub fn offer<S: RosService>(
        node: &SharedNode,
        name: &str,
        mapping: ServiceMapping,
        answer: impl Fn(S::Request) -> S::Response + Send + 'static,
    ) -> Result<Self, CreateError>
    where
        S::Request: Send + 'static,
        S::Response: Send + 'static,
    {
        Service::offer_as(node, name, &service_type::<S>(), mapping, answer)
    }

    /// The same for types that are not of this crate.
    ///
    /// # Errors
    /// As [`Service::offer`].
    pub fn offer_as<Q, A>(
        node: &SharedNode,
        name: &str,
        type_name: &ServiceTypeName,
        mapping: ServiceMapping,
        answer: impl Fn(Q) -> A + Send + 'static,
    ) -> Result<Self, CreateError>
    where
        Q: Message + Clone + Send + 'static,
        A: Message + Send + 'static,
    {
        let full = Name::parse(name)
            .map_err(|e| CreateError::BadParameter { reason: format!("service {name}: {e}") })?;
        let qos = service_qos();
        let server =
            locked(node).create_server::<Q, A>(mapping, &full, type_name, qos.clone(), qos)?;
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let named = name.to_owned();
        let short = name.rsplit('/').next().unwrap_or(name);
        let thread = std::thread::Builder::new().name(format!("srv {short}")).spawn(move || {
            futures::executor::block_on(async {
                let requests = server.receive_request_stream();
                pin_mut!(requests);
                loop {
                    select_biased! {
                        _ = stopped.recv().fuse() => return,
                        request = requests.next() => match request {
                            Some(Ok((id, request))) => {
                                let response = answer(request);
                                if let Err(error) = server.async_send_response(id, response).await {
                                    tracing::warn!("{named}: the answer cannot be sent: {error}");
                                }
                            }
                            Some(Err(error)) => {
                                tracing::warn!("{named}: a request cannot be read: {error}");
                            }
                            None => return,
                        },
                    }
                }
            });
        });
        let thread = thread.map_err(|error| CreateError::OutOfResources {
            reason: format!("no thread for {name}: {error}"),
        })?;
        Ok(Service { stop, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a service's thread panicked");
        }
    }
}
