/** The actor that owns the policy and its thread, and batches the steps of all sessions. */
package ai.lram.runtime.inference;
