/**
 * Scripted policies: a state-feedback expert per task, uniform random actions, and experts that are disturbed on
 * purpose.
 */
package ai.lram.bridge.env.expert;
