/** The executor behind the control dispatchers: one thread that spins briefly, then parks. */
package ai.lram.runtime.dispatch;
