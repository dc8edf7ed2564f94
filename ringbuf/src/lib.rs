//! Shared-memory rings between a payment switch and the appliance.
