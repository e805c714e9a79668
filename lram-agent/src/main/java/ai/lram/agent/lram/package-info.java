/** The Large Recurrent Action Model: token stream, action codec, configuration and the model itself. */
package ai.lram.agent.lram;
