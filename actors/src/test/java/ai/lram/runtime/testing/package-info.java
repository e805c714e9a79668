/** What the runtime's tests share: task cards, a clock moved by hand, a policy that fails on demand, recording listeners. */
package ai.lram.runtime.testing;
