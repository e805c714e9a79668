/** The xLSTM backbone: mLSTM and sLSTM blocks, stacks of them, and the state they carry from one sequence to the next. */
package ai.lram.agent.xlstm;
