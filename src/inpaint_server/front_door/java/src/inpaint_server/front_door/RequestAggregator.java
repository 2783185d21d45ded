package inpaint_server.front_door;

import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpResponseStatus;
import java.util.UUID;

/** Collects the pieces of a request, up to a number of bytes well above the engine's own limit. */
public final class RequestAggregator extends HttpObjectAggregator {
    public RequestAggregator(int maxBytes) {
        super(maxBytes);
    }

    @Override
    protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
        String id = UUID.randomUUID().toString();
        context.writeAndFlush(ErrorResponses.create(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, id))
                .addListener(ChannelFutureListener.CLOSE_ON_FAILURE);
    }
}
