//! The machine's META partition: small values under numbered keys that survive a reset of everything else.

use tonic::Code;

use crate::{CallError, Client, proto::machine};

impl Client {
    /// Sets the value of a key. Doing it twice changes nothing.
    pub async fn meta_write(&self, key: u8, value: &[u8]) -> Result<(), CallError> {
        let mut machine = self.machine();
        let request = machine::MetaWriteRequest { key: key.into(), value: value.to_vec() };
        self.messages("MetaWrite", machine.meta_write(request)).await?;
        Ok(())
    }

    /// Removes a key; `false` when it is not there.
    pub async fn meta_delete(&self, key: u8) -> Result<bool, CallError> {
        let mut machine = self.machine();
        let request = machine::MetaDeleteRequest { key: key.into() };
        match self.messages("MetaDelete", machine.meta_delete(request)).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
