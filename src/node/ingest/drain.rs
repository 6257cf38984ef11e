//! One thread for each subscription. It takes messages and hands them on, and does nothing
//! else: whatever RustDDS holds while nobody takes it grows old inside, 64 messages a topic.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use async_channel::{Receiver, Sender};
use futures::{StreamExt, future::FutureExt, pin_mut, select_biased};
use ros2_client::{
    CreateError, Message, MessageInfo, MessageTypeName, Name, Node, QosProfile, ReadError,
    Subscription,
};

/// A node that several threads make subscriptions with.
pub type SharedNode = Arc<Mutex<Node>>;

/// The node, also after a thread panicked beside it: its lists are whole between calls.
pub fn locked(node: &SharedNode) -> std::sync::MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message or the failure to read one, as it came.
pub type Taken<M> = Result<(M, MessageInfo), ReadError>;

enum Order {
    Again,
    Stop,
}

/// A subscription with its thread. It ends when this is dropped.
pub struct Drain {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Subscribes to `topic`, a name from the root, and hands every message to `take` at once.
    ///
    /// # Errors
    /// When DDS refuses, or the system has no thread left.
    pub fn start<M: Message + Send + 'static>(
        node: &SharedNode,
        topic: &Name,
        type_name: MessageTypeName,
        qos: QosProfile,
        take: impl Fn(Taken<M>, Instant) + Send + 'static,
    ) -> Result<Self, CreateError> {
        let subscribe = {
            let (node, topic) = (node.clone(), topic.clone());
            move || -> Result<Subscription<M>, CreateError> {
                let mut node = locked(&node);
                let topic = node.create_topic(&topic, type_name.clone(), &qos)?;
                node.create_subscription::<M>(&topic, Some(qos.clone()))
            }
        };
        let mut subscription = subscribe()?;
        let (orders, receiver) = async_channel::bounded(2);
        let name = format!("drain {topic}");
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while futures::executor::block_on(drain(&subscription, &receiver, &take)) {
                // The old one goes first: two readers would both be sent every message.
                drop(subscription);
                subscription = loop {
                    match subscribe() {
                        Ok(anew) => break anew,
                        Err(error) => tracing::error!("cannot subscribe again: {error}"),
                    }
                    match receiver.recv_blocking() {
                        Ok(Order::Again) => {}
                        Ok(Order::Stop) | Err(_) => return,
                    }
                };
            }
        });
        let thread = thread.map_err(|error| CreateError::OutOfResources {
            reason: format!("no thread for {topic}: {error}"),
        })?;
        Ok(Drain { orders, thread: Some(thread) })
    }

    /// Makes the subscription anew. A request that is not yet served is enough.
    pub fn again(&self) {
        let _ = self.orders.try_send(Order::Again);
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let _ = self.orders.send_blocking(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a draining thread panicked");
        }
    }
}

/// Takes messages until there is an order; true: to begin anew.
async fn drain<M: Message + 'static>(
    subscription: &Subscription<M>,
    orders: &Receiver<Order>,
    take: &impl Fn(Taken<M>, Instant),
) -> bool {
    let messages = subscription.async_stream();
    pin_mut!(messages);
    loop {
        select_biased! {
            order = orders.recv().fuse() => return matches!(order, Ok(Order::Again)),
            message = messages.next() => match message {
                Some(message) => take(message, Instant::now()),
                None => return false,
            },
        }
    }
}
