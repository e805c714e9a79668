/**
 * Closed-loop runs of scripted and learned policies in environments of this process: returns, scores, training data.
 */
package ai.lram.bridge.rollout;
