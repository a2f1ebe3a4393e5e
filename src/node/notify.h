/* SPDX-License-Identifier: Apache-2.0
 * systemd's readiness protocol (sd_notify(3)): one datagram to the socket in $NOTIFY_SOCKET. */
#ifndef AGI_NODE_NOTIFY_H
#define AGI_NODE_NOTIFY_H

/* state: "READY=1\nSTATUS=…". Does nothing without the variable; never waits, errors are ignored. */
void agi_notify(const char *state);

#endif
