//! The row of settings: what in it belongs to no mesh.

use super::{KernelMaps, error};
use crate::maps::MapsError;
use kmesh_lite_common::{Interest, Settings};

impl KernelMaps {
    /// Whether there are no generations left that a plan could use. A plan a nanosecond takes
    /// longer than anybody lives to get here, so somebody else wrote the number.
    pub fn is_worn_out(&self) -> Result<bool, MapsError> {
        const LAST: u64 = 1 << 62;
        let settings = self.settings.get(0).map_err(error("read", "settings"))?;
        Ok(settings.generation >= LAST)
    }

    /// Makes the settings that belong to no mesh equal to `meant`; gives what was wrong.
    pub fn mend_settings(&mut self, meant: Settings) -> Result<Vec<&'static str>, MapsError> {
        let there = self.settings.get(0).map_err(error("read", "settings"))?;
        let mut wrong = Vec::new();
        let mut mended = Ok(());
        if there.label != meant.label {
            wrong.push("what these tables are");
            mended = mended.and_then(|()| self.settings.set_label(meant.label));
        }
        if there.daemon != meant.daemon {
            wrong.push("the process whose connects are left alone");
            mended = mended.and_then(|()| self.settings.set_daemon(meant.daemon));
        }
        if there.agent != meant.agent {
            wrong.push("the agent, whose connects are left alone");
            mended = mended.and_then(|()| self.settings.set_agent(meant.agent));
        }
        if there.interest != meant.interest {
            wrong.push("which moments of connections are told");
            mended = mended.and_then(|()| self.settings.set_interest(meant.interest));
        }
        mended.map_err(error("write to", "settings"))?;
        Ok(wrong)
    }

    /// Which moments of connections are told.
    pub fn interest(&self) -> Result<Interest, MapsError> {
        let there = self.settings.get(0).map_err(error("read", "settings"))?;
        Ok(there.interest)
    }

    /// Sets which moments of connections are told. It counts at once, and belongs to no mesh.
    pub fn tell(&mut self, interest: Interest) -> Result<(), MapsError> {
        let set = self.settings.set_interest(interest);
        set.map_err(error("write to", "settings"))
    }

    /// Sets the process of the agent. It counts at once, and belongs to no mesh.
    pub fn set_agent(&mut self, agent: u32) -> Result<(), MapsError> {
        let set = self.settings.set_agent(agent);
        set.map_err(error("write to", "settings"))
    }
}
