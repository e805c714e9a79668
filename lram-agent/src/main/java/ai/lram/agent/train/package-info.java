/** Offline training: batches from a trajectory store, the loss over action tokens, AdamW, schedules, snapshots. */
package ai.lram.agent.train;
