"""The healthy server with the fewest outstanding requests for each of its slots."""


def choose(balancer, request):
    servers = [server for server in balancer.servers if server.healthy] or balancer.servers
    return min(servers, key=lambda server: server.outstanding / server.slots).index
