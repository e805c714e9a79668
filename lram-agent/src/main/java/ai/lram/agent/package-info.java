/** Large Recurrent Action Models: definition, training, control. */
package ai.lram.agent;
